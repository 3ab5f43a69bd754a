"""Personal data: found where it is, and plain numbers left alone."""

import pytest

from clocks import steps_of
from pretune.data.text import pii

FOUND = [
    ("email", "write to jane.doe+news@mail.example.co.uk today", "jane.doe+news@mail.example.co.uk"),
    ("email", "邮箱abc_1@qq.com，谢谢", "abc_1@qq.com"),
    ("phone", "call +49 30 1234 5678 now", "+49 30 1234 5678"),
    ("phone", "+86 138 0013 8000", "+86 138 0013 8000"),
    ("phone", "联系我13800138000。", "13800138000"),
    ("phone", "手机 138-0013-8000", "138-0013-8000"),
    ("phone", "热线010-62345678转1", "010-62345678"),
    ("phone", "总机(010)62345678。", "(010)62345678"),
    ("phone", "总机（0571）6234567", "（0571）6234567"),
    ("phone", "客服400-820-8820", "400-820-8820"),
    ("phone", "(212) 555-0187 is mine", "(212) 555-0187"),
    ("phone", "212-555-0187", "212-555-0187"),
    ("phone", "appelez 01 23 45 67 89 !", "01 23 45 67 89"),
    ("phone", "London 020 7946 0958", "020 7946 0958"),
    ("phone", "phone: 5550187", "5550187"),
    ("card", "card 4111 1111 1111 1111 exp", "4111 1111 1111 1111"),
    ("card", "5500005555555559", "5500005555555559"),
    ("card", "amex 3782-822463-10005", "3782-822463-10005"),
    ("card", "卡号6222021234567890128。", "6222021234567890128"),
    ("cn_id", "身份证11010519491231002X号", "11010519491231002X"),
    ("us_ssn", "SSN 078-05-1120.", "078-05-1120"),
    ("iban", "pay GB82 WEST 1234 5698 7654 32 NOW", "GB82 WEST 1234 5698 7654 32"),
    ("iban", "DE89370400440532013000", "DE89370400440532013000"),
    ("iban", "MT84MALT011000012345MTLCAST001S", "MT84MALT011000012345MTLCAST001S"),
    ("ip", "from 203.0.113.77 at noon", "203.0.113.77"),
    ("cn_plate", "车牌京A12345，", "京A12345"),
    ("cn_plate", "他的车是粤B·1234学。", "粤B·1234学"),
    ("cn_plate", "新能源沪AD12345停在", "沪AD12345"),
    ("ip", "host 2001:db8:85a3::8a2e:370:7334 up", "2001:db8:85a3::8a2e:370:7334"),
]

CLEAN = [
    "population 1,234,567,890 in 2011",
    "price 13800138000元 for all",
    "on 2010-01-12 and 12.03.2011 at 12:30:45",
    "2008-2009 season, 12-15 points, 100-200-3000",
    "sold 20000000 units at $1234567.89",
    "serial 123456789012 of 98765432101234",
    "timestamps 1577836800 and 1577836800000",
    "version 10.4.12.1 of v1.22.3.44 and 1.2.3.4",
    "listen on 127.0.0.1 or 0.0.0.0",
    "4111 1111 1111 1112",  # fails the Luhn check
    "1234567812345678",  # no issuer
    "110105194912310021",  # fails the check character
    "GB82 WEST 1234 5698 7654 33",  # fails mod 97
    "000-12-3456 and 666-12-3456 and 912-34-5678",
    "isbn 978-3-16-148410-0 and 0-306-40615-2",
    "版本v1.10.54.18发布",
    "浙A股上涨，京ABCDE，川A1234，苏ICOIO12",
    "@alice said hi, a @ b, left-pad@1.2.3",
    "std::vector<int> and a::b and ::",
    "pi is 3.14159265358979",
    "shares 600519 rose 3.25% to 1688.88",
    "日经225指数13日开盘下跌0.35%至10000.12点",
    "1990 1991 1992 1993 1994",
    "growth of +1000000000 people",
    "0.00123456789 and 00123456",
    "id 826ce190-8078-4566-abe8-cd6b11375779 and f4a0-9b28-f16153115227",
    "id 927e-ce01-4928-a011-37716827baeb",
    "chondrosulfatase (EC 3.1.4.45)",
]


@pytest.mark.parametrize(("kind", "text", "value"), FOUND)
def test_finds(kind: str, text: str, value: str) -> None:
    assert [(name, text[start:end]) for name, start, end in pii.find(text)] == [(kind, value)]


@pytest.mark.parametrize("text", CLEAN)
def test_leaves_plain_text_alone(text: str) -> None:
    assert [(kind, text[start:end]) for kind, start, end in pii.find(text)] == []
    assert pii.redact(text) == text


def test_redact_keeps_the_rest_and_no_digit_of_the_value() -> None:
    text = (
        "mail a@b.org or +1 212 555 0187, card 4111111111111111, id 11010519491231002X, from 203.0.113.77, 078-05-1120"
    )
    assert pii.redact(text) == "mail [EMAIL] or [PHONE], card [CARD], id [ID], from [IP], [ID]"
    assert pii.find(pii.redact(text)) == []


@pytest.mark.parametrize("text", ["a", "1 ", "a@", "1.", ":", "(1", "0", "1 1"])
def test_hostile_text_takes_linear_time(text: str) -> None:
    """Two million characters: a pattern that looks at them once more for each of them would take days."""
    assert isinstance(pii.find(text * (2_000_000 // len(text))), list)


def test_short_texts_take_few_steps() -> None:
    """So many million rows are looked at in a passport: 24 calls a text, 0.1 s for all of these on a quiet machine."""
    texts = [f"尾盘：主要股指涨跌不一 {number} 2010-01-12 涨3.5%" for number in range(10_000)]
    assert steps_of(lambda: not any(map(pii.find, texts)) or pytest.fail("something was found")) < 30 * len(texts)
