"""Cities and countries whose time people ask for, in the languages that the demo model speaks, and their time zones."""

from __future__ import annotations

import re

_TABLE = """
Africa/Cairo: cairo kairo el_cairo egypt ägypten egipto 开罗 埃及
Africa/Johannesburg: johannesburg johannesburgo south_africa südafrika sudáfrica 约翰内斯堡 南非
Africa/Lagos: lagos nigeria 拉各斯 尼日利亚
Africa/Nairobi: nairobi kenya kenia 内罗毕 肯尼亚
America/Argentina/Buenos_Aires: buenos_aires argentina argentinien 布宜诺斯艾利斯 阿根廷
America/Bogota: bogota bogotá colombia kolumbien 波哥大 哥伦比亚
America/Caracas: caracas venezuela 加拉加斯 委内瑞拉
America/Chicago: chicago 芝加哥
America/Denver: denver 丹佛
America/Lima: lima peru perú 利马 秘鲁
America/Los_Angeles: los_angeles san_francisco seattle california kalifornien 洛杉矶 旧金山 西雅图 加州
America/Mexico_City: mexico_city mexiko-stadt ciudad_de_méxico mexico mexiko méxico 墨西哥城 墨西哥
America/New_York: new_york nueva_york washington boston miami 纽约 华盛顿 波士顿
America/Santiago: santiago chile 圣地亚哥 智利
America/Sao_Paulo: sao_paulo são_paulo rio_de_janeiro brazil brasilien brasil 圣保罗 里约热内卢 巴西
America/Toronto: toronto montreal kanada canada canadá 多伦多 加拿大
America/Vancouver: vancouver 温哥华
Asia/Bangkok: bangkok thailand tailandia 曼谷 泰国
Asia/Dubai: dubai dubái 迪拜
Asia/Ho_Chi_Minh: hanoi saigon vietnam 河内 越南
Asia/Hong_Kong: hong_kong hongkong 香港
Asia/Istanbul: istanbul estambul türkiye turkey türkei turquía 伊斯坦布尔 土耳其
Asia/Jakarta: jakarta yakarta indonesia indonesien 雅加达 印度尼西亚
Asia/Jerusalem: jerusalem tel_aviv israel 特拉维夫 以色列
Asia/Karachi: karachi pakistan 卡拉奇 巴基斯坦
Asia/Kolkata: delhi new_delhi mumbai bangalore india indien 新德里 孟买 印度
Asia/Manila: manila philippines philippinen filipinas 马尼拉 菲律宾
Asia/Riyadh: riyadh riad saudi_arabia saudi-arabien 利雅得
Asia/Seoul: seoul seúl south_korea südkorea korea corea 首尔 韩国
Asia/Shanghai: shanghai beijing peking pekín shenzhen china 上海 北京 深圳 广州 中国
Asia/Singapore: singapore singapur 新加坡
Asia/Taipei: taipei taipeh taiwan taiwán 台北 台湾
Asia/Tehran: tehran teheran teherán iran irán 德黑兰 伊朗
Asia/Tokyo: tokyo tokio osaka kyoto japan japón 东京 大阪 日本
Atlantic/Reykjavik: reykjavik iceland island islandia 冰岛
Australia/Melbourne: melbourne 墨尔本
Australia/Sydney: sydney sídney australia australien 悉尼 澳大利亚
Europe/Amsterdam: amsterdam ámsterdam netherlands niederlande países_bajos holanda 阿姆斯特丹 荷兰
Europe/Athens: athens athen atenas greece griechenland grecia 雅典 希腊
Europe/Berlin: berlin berlín munich münchen hamburg cologne köln frankfurt germany deutschland alemania 柏林 慕尼黑 德国
Europe/Brussels: brussels brüssel bruselas belgium belgien bélgica 布鲁塞尔 比利时
Europe/Copenhagen: copenhagen kopenhagen denmark dänemark dinamarca 哥本哈根 丹麦
Europe/Dublin: dublin dublín ireland irland irlanda 都柏林 爱尔兰
Europe/Helsinki: helsinki finland finnland finlandia 赫尔辛基 芬兰
Europe/Kyiv: kyiv kiev kiew ukraine ucrania 基辅 乌克兰
Europe/Lisbon: lisbon lissabon lisboa portugal 里斯本 葡萄牙
Europe/London: london londres england inglaterra great_britain uk 伦敦 英国
Europe/Madrid: madrid barcelona spain spanien españa 马德里 巴塞罗那 西班牙
Europe/Moscow: moscow moskau moscú russia russland rusia 莫斯科 俄罗斯
Europe/Oslo: oslo norway norwegen noruega 奥斯陆 挪威
Europe/Paris: paris parís france frankreich francia 巴黎 法国
Europe/Prague: prague prag praga 布拉格 捷克
Europe/Rome: rome rom roma milan mailand italy italien italia 罗马 米兰 意大利
Europe/Stockholm: stockholm estocolmo sweden schweden suecia 斯德哥尔摩 瑞典
Europe/Vienna: vienna wien viena austria österreich 维也纳 奥地利
Europe/Warsaw: warsaw warschau varsovia poland polen polonia 华沙 波兰
Europe/Zurich: zurich zürich bern geneva genf ginebra switzerland schweiz suiza 苏黎世 瑞士
Pacific/Auckland: auckland wellington new_zealand neuseeland nueva_zelanda 奥克兰 新西兰
Pacific/Honolulu: honolulu hawaii 夏威夷
UTC: utc gmt 世界时
"""

ZONES: dict[str, str] = {
    name.replace("_", " "): zone
    for zone, _, names in (line.partition(": ") for line in _TABLE.strip().splitlines())
    for name in names.split()
}
"""Name in lower case → IANA zone."""

_HAN = re.compile(r"[\u4e00-\u9fff]")
_NAMES = sorted(ZONES, key=lambda name: (-len(name), name))  # longest first: "mexico city" before "mexico"
_PLACE = re.compile(
    rf"(?<!\w)(?P<zone>[A-Z][A-Za-z]+/[A-Z][A-Za-z_/]+)"
    rf"|(?<![^\W\d_])(?:{'|'.join(re.escape(name) for name in _NAMES if not _HAN.search(name))})(?![^\W\d_])"
    rf"|{'|'.join(name for name in _NAMES if _HAN.search(name))}",
    re.IGNORECASE,
)


def find_places(text: str) -> dict[str, str]:
    """The known places in `text` as written → their zones, each zone once, in order; at most five."""
    found: dict[str, str] = {}
    for match in _PLACE.finditer(text):
        name = match.group()
        zone = name if match.group("zone") else ZONES[name.lower()]
        if zone not in found.values() and len(found) < 5:
            found[name.upper() if zone == "UTC" else name if match.group("zone") else name.title()] = zone
    return found
