"""Currencies: the codes of ISO 4217, and to how many digits after the point amounts in them are rounded."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal, Inexact, Rounded

from django.utils.translation import gettext as _

from hotdata.exceptions import BadPrice
from hotdata.tiers import EXACT

TWO_DIGITS = """
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC
    CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD
    KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO
    NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL
    THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VES WST XCD XCG YER ZAR ZMW ZWG
"""
NO_DIGITS = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF"
THREE_DIGITS = "BHD IQD JOD KWD LYD OMR TND"
DIGITS = {
    **dict.fromkeys(TWO_DIGITS.split(), 2),
    **dict.fromkeys(NO_DIGITS.split(), 0),
    **dict.fromkeys(THREE_DIGITS.split(), 3),
}
"""By code, those of the currency's smallest unit."""


def check_currency(text: str) -> str:
    """The code that `text` means; raises BadPrice."""
    code = text.strip().upper()
    if code not in DIGITS:
        raise BadPrice(
            "currency",
            _("%(text)s is no currency of ISO 4217, such as EUR or USD.") % {"text": repr(text[:20])},
        )
    return code


def rounded(amount: Decimal, currency: str) -> Decimal:
    """`amount` in whole smallest units of `currency`, a half up: as people and spreadsheets check it."""
    return amount.quantize(Decimal(1).scaleb(-DIGITS[currency]), ROUND_HALF_UP, context=ROUNDING)


ROUNDING = EXACT.copy()
"""As `EXACT`, but that rounding is what it is for."""
ROUNDING.traps[Inexact] = ROUNDING.traps[Rounded] = False
