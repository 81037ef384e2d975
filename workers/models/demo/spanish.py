"""The demo model's Spanish."""

from __future__ import annotations

from workers.models.demo.language import Language, Topic, pattern, spoken

_SHOW = r"\b(?:muestra|muéstrame|muestrame|escribe|haz|hazme|dame|crea|envía|enséñame|pon)\b"

SPANISH = Language(
    code="es",
    topics=(
        (
            Topic.FIRST_SAID,
            pattern(
                r"qu[ée] (?:dije|escribí|pregunté)[^?]{0,20}\b(?:primero|al principio)\b"
                r"|cuál fue mi primer"
            ),
        ),
        (
            Topic.SAID_BEFORE,
            pattern(
                r"qu[ée] (?:te )?(?:dije|escribí|pregunté|he dicho)|mi (?:último|anterior) mensaje"
                r"|mi última pregunta"
            ),
        ),
        (Topic.SUMMARY, pattern(r"\bresum(?:e|en|ir|eme|ela)\b|\bresúme|de qué hemos hablado")),
        (
            Topic.LONG,
            pattern(
                r"\b(?:texto|mensaje|cuento|ensayo) (?:más )?largo\b|\b(?:respuesta"
                r"|historia) (?:más )?larga\b"
            ),
        ),
        (Topic.TABLE, pattern(rf"{_SHOW}.*\btablas?\b|^\W*(?:una )?tabla\W*$")),
        (Topic.LIST, pattern(rf"{_SHOW}.*\blistas?\b|^\W*(?:una )?lista\W*$")),
        (Topic.CODE, pattern(rf"{_SHOW}.*\bcódigo\b|\bbloque de código\b|^\W*código\W*$")),
        (Topic.MARKDOWN, pattern(r"\bmarkdown\b|\bformatos?\b")),
        (Topic.BOLD, pattern(r"\bnegritas?\b|\bcursivas?\b")),
        (Topic.JOKE, pattern(r"\bchistes?\b|hazme reír|algo gracioso")),
        (Topic.TELEGRAM, pattern(r"\btelegram\b|\bbotfather\b")),
        (Topic.SLACK, pattern(r"\bslack\b")),
        (
            Topic.REAL_MODEL,
            pattern(
                r"\bmodelo (?:de lenguaje )?(?:real|local|propio|mejor|de verdad|verdadero)\b"
                r"|\b(?:otro|mejor) modelo\b"
                r"|\b(?:ollama|openai|clave (?:de )?api|vllm)\b|\b(?:cambiar|conectar|usar) (?:de |el "
                r"|un )?modelo\b"
            ),
        ),
        (Topic.COMMANDS, pattern(r"\bcomandos?\b|\bórdenes\b|(?:^|\s)[/!](?:new|stop|help)\b")),
        (
            Topic.WHO,
            pattern(
                r"\b(?:quién|quien|qué|que) eres\b|\bcómo te llamas\b|\bcuál es tu nombre\b|\bqué modelo\b"
                r"|\beres (?:un |una )?(?:bot|ia|humano|humana|robot|real|persona|chatgpt|modelo)\b"
            ),
        ),
        (Topic.HOW_ARE_YOU, pattern(r"\b(?:cómo|como) est[áa]s\b|\bqué tal\b")),
        (Topic.WHAT_IS, pattern(r"\bthreadway\b|\bqué es esto\b|\bcómo funciona\b")),
        (
            Topic.HELP,
            pattern(
                r"\bayuda\b|\bayúdame\b|\bqué (?:puedes|sabes) hacer\b|\bqué puedo (?:preguntar"
                r"|hacer)\b|\bejemplos?\b"
            ),
        ),
        (Topic.THANKS, pattern(r"\bgracias\b")),
        (Topic.GOODBYE, pattern(r"\badi[óo]s\b|\bhasta (?:luego|pronto|mañana)\b|\bbuenas noches\b")),
        (Topic.GREETING, pattern(r"^\W*(?:hola|buenas|buenos días|buenas tardes|saludos)\b")),
    ),
    name_is=pattern(
        r"\b(?:me llamo|mi nombre es|ll[áa]mame)\s+"
        r"(?P<value>[^\s,.!?;:]{1,40}(?: (?-i:[A-ZÁÉÍÓÚÑ])[^\s,.!?;:]{0,40})?)"
    ),
    fact_is=(pattern(r"\bmi\s+(?P<thing>\S.{0,40}?)\s+(?:es|son)\s+(?P<value>\S.{0,79}?)[\s.!]*$"),),
    asks_name=pattern(
        r"\b(?:cómo|como) me llamo\b|\bcu[áa]l es mi nombre\b|\bqui[ée]n soy\b"
        r"|\bsabes mi nombre\b"
    ),
    asks_fact=pattern(
        r"\b(?:cu[áa]l(?:es)?|qu[ée]|cómo|qui[ée]n)\s+(?:es|son|era)\s+mi\s+(?P<thing>\S.{0,59}?)[\s?.!]*$"
    ),
    asks_all=pattern(r"\bqu[ée] (?:recuerdas|sabes de mí)(?:\b|$)|\bde qué te acuerdas\b"),
    remember=(
        pattern(
            r"\b(?:recuerda|acu[ée]rdate(?: de)?|apunta|anota)\b(?: por favor)?(?: que)?[:,]?\s+(?:mi\s+)?"
            r"(?P<thing>\S.{0,59}?)\s+(?:es|son|=)\s+(?P<value>\S.{0,199}?)[\s.!]*$"
        ),
        pattern(
            r"\b(?:recuerda|acu[ée]rdate(?: de)?|apunta|anota)\b(?: por favor)?(?: que)?[:,]?\s+"
            r"(?P<value>\S.{0,199}?)[\s.!]*$"
        ),
    ),
    wait=pattern(r"\bespera\b(?: por favor)?\s+(?P<seconds>\d{1,6})\s*(?:s|seg|segundos?)\b"),
    time=pattern(
        r"\bqu[ée] horas? (?:es|son)\b|\bla hora\b|\bhora (?:actual|es)\b|\bqu[ée] (?:día"
        r"|fecha) es\b"
    ),
    place=pattern(
        r"\ben\s+(?P<place>(?!el\b|la\b|los\b|las\b|un\b|una\b)[\w/+-]{2,40}(?: (?-i:[A-ZÁÉÍÓÚÑ])\w{1,40})?)"
    ),
    name_words=frozenset({"nombre"}),
    decimal_comma=True,
    **spoken("es"),
)
