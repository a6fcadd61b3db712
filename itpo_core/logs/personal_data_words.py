"""Words beside a number that say what it is, in the languages that logs come in."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

BEFORE, AFTER = 48, 24  # characters beside a number in which its word may stand
# What a search itself left behind is no word: a masked number would make the next one personal.
_PLACEHOLDER = re.compile(r"\[(?:email|phone|card|iban|national id|ip) \d+\]")

_PHONE = (
    r"phones?|telephone|tel|mobile|cell(?:phone)?|call|whatsapp|fax|sms|telefon|telefonnummer|handy|handynummer|"
    r"mobil|mobilnummer|rufnummer|téléphone|telephone|portable|gsm|teléfono|telefono|móvil|movil|celular|"
    r"cellulare|telefone|telemóvel|telemovel|telefoon|telefoonnummer|mobiel"
)
_PHONE_ELSEWHERE = "फ़ोन|फोन|फ़ोन|मोबाइल|هاتف|جوال|电话|手机|電話|携帯|전화"
_CARD = (
    r"cards?|credit ?cards?|debit ?cards?|visa|mastercard|amex|karte|kartennummer|kreditkarten?|"
    r"kreditkartennummer|carte|tarjeta|carta|cartão|cartao|kaart|creditcard"
)
_US = r"ssn|social security|social"
_GB = r"nhs"
_CA = r"sin|social insurance|numéro d'assurance sociale|nas"
_DE = r"steuer-?id|idnr|id-?nr|steuer-?identifikationsnummer|steuernummer|steuerliche"
_FR = r"nir|sécurité sociale|securite sociale|sécu|insee|numéro de sécu"
_ES = r"dni|nif|nie|documento|documento nacional"
_IT = r"codice fiscale|cod\.? ?fisc\.?|c\.?f"
_PT = r"nif|contribuinte|nº fiscal|número fiscal|numero fiscal|cartão de cidadão|cartao de cidadao"
_NL = r"bsn|burgerservicenummer|sofi-?nummer|burger service nummer"
_BR = r"cpf|cadastro"
_AADHAAR = r"aadh?aa?r|uid|uidai"
_PAN = r"pan|permanent account"
_PL = r"pesel"
_CH = r"ahv|avs|oasi"
_BE = r"rijksregister(?:nummer)?|registre national|numéro national|niss|insz"
_SE = r"personnummer|pnr"


@dataclass(frozen=True, slots=True)
class _Words:
    """Words between others, in letters of any size."""

    anywhere: re.Pattern[str]
    # The same in small letters. Where the size of letters says nothing, a word is ruled out by its first one.
    small: re.Pattern[str]

    def stand_in(self, text: str) -> bool:
        if text.isascii():
            return self.small.search(text.lower()) is not None
        return self.anywhere.search(text) is not None


def _words(spaced: str, unspaced: str = "") -> _Words:
    """The words; `unspaced` are those of scripts that put no spaces between words."""
    either = f"|{unspaced}" if unspaced else ""
    pattern = rf"(?<![^\W_])(?:{spaced})(?![^\W_]){either}"
    return _Words(re.compile(pattern, re.IGNORECASE), re.compile(pattern))


WORDS: Mapping[str, _Words] = MappingProxyType(
    {
        "phone": _words(_PHONE, _PHONE_ELSEWHERE),
        "card": _words(_CARD, "कार्ड|بطاقة|信用卡|カード"),
        "us.ssn": _words(_US),
        "gb.nhs": _words(_GB),
        "ca.sin": _words(_CA),
        "de.idnr": _words(_DE),
        "fr.nir": _words(_FR),
        "es.dni": _words(_ES),
        "es.nie": _words(_ES),
        "it.codicefiscale": _words(_IT),
        "pt.nif": _words(_PT),
        "pt.cc": _words(_PT),
        "nl.bsn": _words(_NL),
        "br.cpf": _words(_BR),
        "in_.aadhaar": _words(_AADHAAR, "आधार"),
        "in_.pan": _words(_PAN),
        "pl.pesel": _words(_PL),
        "ch.ssn": _words(_CH),
        "be.nn": _words(_BE),
        "se.personnummer": _words(_SE),
    }
)


_OF_NATIONS = _words(
    "|".join((_US, _GB, _CA, _DE, _FR, _ES, _IT, _PT, _NL, _BR, _AADHAAR, _PAN, _PL, _CH, _BE, _SE)), "आधार"
)


def is_named(kind: str, text: str, *, start: int, end: int, before: str = "") -> bool:
    """Whether a word for this kind of number stands beside it; `before` is what was said before the text."""
    return WORDS[kind].stand_in(_beside(text, start=start, end=end, before=before))


def is_national(text: str, *, start: int, end: int, before: str = "") -> bool:
    """Whether a word for a national number of any kind does: where none does, no kind need be asked for."""
    return _OF_NATIONS.stand_in(_beside(text, start=start, end=end, before=before))


def _beside(text: str, *, start: int, end: int, before: str) -> str:
    ahead = text[max(0, start - BEFORE) : start]
    if start < BEFORE:
        ahead = f"{before}\n{ahead}"
    beside = f"{ahead} \n {text[end : end + AFTER]}"
    return _PLACEHOLDER.sub(" ", beside) if "[" in beside else beside
