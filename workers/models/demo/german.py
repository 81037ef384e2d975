"""The demo model's German."""

from __future__ import annotations

from workers.models.demo.language import Language, Topic, pattern, spoken

_SHOW = r"\b(?:zeig|zeige|schreib|schreibe|mach|mache|gib|erstelle|sende|schick)\b"

GERMAN = Language(
    code="de",
    topics=(
        (
            Topic.FIRST_SAID,
            pattern(
                r"was (?:habe?|hab) ich[^?]{0,20}\b(?:zuerst|als erstes|am anfang)\b"
                r"|was war meine erste (?:nachricht|frage)"
            ),
        ),
        (
            Topic.SAID_BEFORE,
            pattern(
                r"was (?:habe?|hab) ich (?:[^?]{0,30} )?(?:gesagt|geschrieben|gefragt)|meine (?:letzte"
                r"|vorige) (?:nachricht|frage)"
            ),
        ),
        (
            Topic.SUMMARY,
            pattern(r"\bzusammenfass|\bfass[e]?\b.*\bzusammen\b|worüber haben wir (?:geredet|gesprochen)"),
        ),
        (Topic.LONG, pattern(r"\blange[nrs]? (?:text|antwort|geschichte|nachricht|aufsatz)\b")),
        (Topic.TABLE, pattern(rf"{_SHOW}.*\btabellen?\b|^\W*(?:eine )?tabelle\W*$")),
        (Topic.LIST, pattern(rf"{_SHOW}.*\b(?:liste|aufzählung)\b|^\W*(?:eine )?liste\W*$")),
        (Topic.CODE, pattern(rf"{_SHOW}.*\b(?:code|quelltext)\b|\bcode-?block\b|^\W*code\W*$")),
        (Topic.MARKDOWN, pattern(r"\bmarkdown\b|\bformatierung(?:en)?\b")),
        (Topic.BOLD, pattern(r"\bfett\b|\bkursiv\b")),
        (Topic.JOKE, pattern(r"\bwitze?\b|bring mich zum lachen|etwas lustiges")),
        (Topic.TELEGRAM, pattern(r"\btelegram\b|\bbotfather\b")),
        (Topic.SLACK, pattern(r"\bslack\b")),
        (
            Topic.REAL_MODEL,
            pattern(
                r"\b(?:echte[sn]?|andere[sn]?|bessere[sn]?|lokale[sn]?|eigene[sn]?"
                r"|richtige[sn]?) (?:sprach)?modell\b"
                r"|\b(?:ollama|openai|api-?schlüssel|vllm)\b|\bmodell (?:wechseln|ändern|verbinden"
                r"|benutzen|verwenden)\b"
            ),
        ),
        (Topic.COMMANDS, pattern(r"\bbefehle?\b|\bkommandos?\b|(?:^|\s)[/!](?:new|stop|help)\b")),
        (
            Topic.WHO,
            pattern(
                r"\b(?:wer|was) bist du\b|\bwie hei(?:ß|ss)t du\b|\bwelches modell\b"
                r"|\bbist du (?:eine? )?(?:bot|ki|mensch|roboter|echt|person|chatgpt|sprachmodell)\b"
            ),
        ),
        (Topic.HOW_ARE_YOU, pattern(r"\bwie geht(?:'?s| es)\b")),
        (Topic.WHAT_IS, pattern(r"\bthreadway\b|\bwas ist das hier\b|\bwie funktioniert (?:das|es)\b")),
        (
            Topic.HELP,
            pattern(
                r"\bhilfe\b|\bhilf mir\b|\bwas kannst du\b|\bwas kann ich (?:fragen|tun|machen"
                r"|sagen)\b|\bbeispiele?\b"
            ),
        ),
        (Topic.THANKS, pattern(r"\bdanke\b|\bdankeschön\b|\bvielen dank\b")),
        (
            Topic.GOODBYE,
            pattern(
                r"\btschüss?\b|\bauf wiedersehen\b|\bgute nacht\b|\bbis (?:bald|später"
                r"|dann)\b"
            ),
        ),
        (
            Topic.GREETING,
            pattern(r"^\W*(?:hallo|hi|hey|servus|moin|grüß (?:gott|dich)|guten (?:morgen|tag|abend))\b"),
        ),
    ),
    name_is=pattern(
        r"\b(?:mein name ist|ich hei(?:ß|ss)e|nenn[e]? mich)\s+"
        r"(?P<value>[^\s,.!?;:]{1,40}(?: (?-i:[A-ZÄÖÜ])[^\s,.!?;:]{0,40})?)"
    ),
    fact_is=(
        pattern(
            r"\bmeine?\s+(?P<thing>\S.{0,40}?)\s+(?:ist|sind|heißt|heissen|lautet)\s+"
            r"(?P<value>\S.{0,79}?)[\s.!]*$"
        ),
    ),
    asks_name=pattern(
        r"\bwie (?:hei(?:ß|ss)e ich|ist mein name|war mein name|lautet mein name)\b"
        r"|\bwer bin ich\b|\bkennst du meinen namen\b"
    ),
    asks_fact=pattern(
        r"\b(?:was|wie|wer|welche[rs]?)\s+(?:ist|sind|war|waren|heißt"
        r"|lautet)\s+(?:noch ?mal\s+)?meine?\s+(?P<thing>\S.{0,59}?)[\s?.!]*$"
    ),
    asks_all=pattern(
        r"\bwas wei(?:ß|ss)t du (?:noch )?(?:über mich|von mir)\b|\bwas hast du dir gemerkt\b"
        r"|\bwor?an erinnerst du dich\b"
    ),
    remember=(
        pattern(
            r"\b(?:merke? dir|behalte|erinnere dich(?: daran)?)\b(?: bitte)?[:,]?\s*(?:das[sß]"
            r"|daß)\s+(?:meine?\s+)?"
            r"(?P<thing>[^\s,]{1,60})\s+(?P<value>\S.{0,199}?)\s+(?:ist|sind|hei(?:ß|ss)t)[\s.!]*$"
        ),
        pattern(
            r"\b(?:merke? dir|behalte|erinnere dich(?: daran)?)\b(?: bitte)?[:,]?\s*(?:meine?\s+)?"
            r"(?P<thing>\S.{0,59}?)\s+(?:ist|sind|hei(?:ß|ss)t|=)\s+(?P<value>\S.{0,199}?)[\s.!]*$"
        ),
        pattern(r"\b(?:merke? dir|behalte)\b(?: bitte)?[:,]?\s*(?:dass\s+)?(?P<value>\S.{0,199}?)[\s.!]*$"),
    ),
    wait=pattern(r"\bwarte?\b(?: bitte)?\s+(?P<seconds>\d{1,6})\s*(?:s|sek|sekunden?)\b"),
    time=pattern(
        r"\bwie spät\b|\bwie ?viel uhr\b|\buhrzeit\b|\bwelche[rs]? (?:tag|datum) (?:ist"
        r"|haben)\b|\bder wievielte\b"
    ),
    place=pattern(
        r"\bin\s+(?P<place>(?!der\b|dem\b|den\b|einer\b"
        r"|einem\b)[\w/+-]{2,40}(?: (?-i:[A-ZÄÖÜ])\w{1,40})?)"
    ),
    name_words=frozenset({"name", "vorname"}),
    decimal_comma=True,
    **spoken("de"),
)
