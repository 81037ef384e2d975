// Starts the page.
import { FaultsDrawer } from "./faults.js";
import { SlackPane } from "./slack.js";
import { TelegramPane } from "./telegram.js";
import { World } from "./world.js";

const byId = (id) => document.getElementById(id);
const link = byId("link");

function showLink(alive) {
  link.textContent = alive ? "live" : "reconnecting…";
  link.classList.toggle("alive", alive);
}

function choosePane(name) {
  byId("panes").dataset.shown = name;
  for (const each of ["telegram", "slack"]) byId(`show-${each}`).setAttribute("aria-pressed", String(each === name));
}

const world = new World();
try {
  await world.start(showLink);
  new TelegramPane(byId("telegram"), world);
  new SlackPane(byId("slack"), world);
  new FaultsDrawer(byId("faults"), byId("open-faults"), byId("fault-count"), world);
  document.querySelector("#telegram textarea").focus({ preventScroll: true });
} catch (error) {
  link.textContent = error.message;
}
for (const name of ["telegram", "slack"]) byId(`show-${name}`).addEventListener("click", () => choosePane(name));
