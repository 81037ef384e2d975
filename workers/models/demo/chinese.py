"""The demo model's Chinese."""

from __future__ import annotations

from workers.models.demo.language import Language, Topic, pattern, spoken

_SHOW = r"(?:给我|显示|写|来|做|展示|画|发|看看)"

CHINESE = Language(
    code="zh",
    topics=(
        (
            Topic.FIRST_SAID,
            pattern(r"我(?:最先|最开始|一开始|第一句|首先)(?:话)?(?:说|问|写)?|第一(?:句话|条消息)是什么"),
        ),
        (Topic.SAID_BEFORE, pattern(r"我(?:刚才|刚刚|之前|上一?句|先前)(?:都)?(?:说|问|写)|上一条消息")),
        (Topic.SUMMARY, pattern(r"总结|概括|我们(?:都)?(?:聊|谈|说)了(?:些)?什么")),
        (Topic.LONG, pattern(r"(?:很长|长|长一点)的?(?:文章|文字|文本|故事|回答|回复|消息)|长文")),
        (Topic.TABLE, pattern(rf"{_SHOW}.*(?:表格|表)|^\W*表格\W*$")),
        (Topic.LIST, pattern(rf"{_SHOW}.*(?:列表|清单)|^\W*列表\W*$")),
        (Topic.CODE, pattern(rf"{_SHOW}.*代码|代码块")),
        (Topic.MARKDOWN, pattern(r"markdown|格式")),
        (Topic.BOLD, pattern(r"粗体|加粗|斜体")),
        (Topic.JOKE, pattern(r"笑话|逗我笑")),
        (Topic.TELEGRAM, pattern(r"telegram|电报|botfather")),
        (Topic.SLACK, pattern(r"slack")),
        (
            Topic.REAL_MODEL,
            pattern(
                r"(?:真正的?|真实的?|别的|其他的?|更好的?|本地的?|自己的)(?:语言|大)?模型|ollama|openai|密钥|(?:换|更换|连接|使用)模型"
            ),
        ),
        (Topic.COMMANDS, pattern(r"命令|指令|(?:^|\s)[/!](?:new|stop|help)\b")),
        (Topic.WHO, pattern(r"你是(?:谁|什么|机器人|人工智能|人吗|真人|ai)|你叫什么|什么模型|哪个模型")),
        (Topic.HOW_ARE_YOU, pattern(r"你(?:还)?好吗|最近怎么样|你怎么样")),
        (Topic.WHAT_IS, pattern(r"threadway|这(?:个)?是什么|(?:怎么|如何)(?:工作|运作)")),
        (
            Topic.HELP,
            pattern(r"帮助|帮帮我|你(?:能|会|可以)(?:做|干)?(?:些)?什么|我(?:能|可以)(?:问|做)什么|例子|示例"),
        ),
        (Topic.THANKS, pattern(r"谢谢|多谢|感谢")),
        (Topic.GOODBYE, pattern(r"再见|拜拜|晚安")),
        (Topic.GREETING, pattern(r"^\W*(?:你好|您好|嗨|哈[喽啰]|早上好|下午好|晚上好|大家好)")),
    ),
    name_is=pattern(
        r"我(?:叫|的名字(?:是|叫)|名叫)\s*(?!什么|啥|谁|做)(?P<value>[^，。？?！!,.\s]{1,20})|叫我\s*(?P<nick>[^，。？?！!,.\s吧]{1,20})"
    ),
    fact_is=(
        pattern(
            r"我(?:的)?(?P<thing>[^是，。？?！!\s]{1,20}?)是(?!什么|谁|哪|多少|几|不是|否|吗)(?P<value>[^？?。！!]{1,80}?)[\s。！!]*$"
        ),
    ),
    asks_name=pattern(r"我叫(?:什么|啥)|我的名字(?:是|叫)(?:什么|啥)|我是谁|(?:知道|记得)我(?:的名字|叫什么|是谁)"),
    asks_fact=pattern(r"我(?:的)?(?P<thing>[^是，。？?！!\s]{1,20}?)是(?:什么|谁|哪|多少|几)"),
    asks_all=pattern(r"你(?:还|都)?(?:记得|记住了|知道)(?:关于)?(?:我的?)?(?:什么|哪些|些什么)"),
    remember=(
        pattern(
            r"(?:记住|记下|记得|帮我记)(?:了|一下)?[，,：:]?\s*我?(?:的)?(?P<thing>[^是，。？?\s]{1,20}?)是(?P<value>[^？?。！!]{1,200}?)[\s。！!]*$"
        ),
        pattern(r"(?:记住|记下|帮我记)(?:了|一下)?[，,：:]?\s*(?P<value>[^？?]{1,200}?)[\s。！!]*$"),
    ),
    wait=pattern(r"等(?:待|一等|我)?\s*(?P<seconds>\d{1,6})\s*秒"),
    time=pattern(r"几点|时间|几号|星期几|日期"),
    place=None,  # nothing marks a place that is not in the list
    name_words=frozenset({"名字", "姓名"}),
    decimal_comma=False,
    **spoken("zh"),
)
