"""Spellings: which ones are one name, and which are not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ime_live.spelling import fold, fold_name
from tests.support.rows import each_row


class TestFold:
    @each_row(
        ("one", "other"),
        [
            ("سكه0312پ01", "سکه۰۳۱۲پ۰۱"),
            ("سكه0312پ01", "سكه٠٣١٢پ٠١"),
            ("زعفراني", "زعفرانی"),
            ("زعفرانى", "زعفرانی"),
            ("ﺳﻜﻪ", "سکه"),  # presentation forms, as old PDF files have them
            ("می‌خرم", "میخرم"),  # a zero-width non-joiner
            ("\u200fسکه\u200e", "سکه"),
            ("\u2068سکه\u2069", "سکه"),
            ("\u202bسکه\u202c", "سکه"),
            ("\ufeffسکه", "سکه"),
            ("caf\u0065\u200c\u0301", "caf\u00e9"),  # a joiner between a letter and its accent
            ("  GCOR01 ", "GCOR01"),
            ("ＧＣＯＲ０１", "GCOR01"),
            ("\u200b GCOR01 \u200f", "GCOR01"),
            ("سـكـه", "سکه"),  # tatweel
            ("ﺳـﮑـه", "سکه"),
            ("سِکَّهٌ", "سکه"),  # vowels
            ("ﹶسکه", "سکه"),  # a vowel as a presentation form
            ("رحمٰن", "رحمن"),
            ("دادهٔ", "داده"),
            ("دادۀ", "داده"),
            ("تأمین", "تامین"),
            ("تا\u0654مین", "تامین"),
            ("پائیز", "پاییز"),
            ("آتی", "ا\u0653تی"),
            ("سکھ", "سکه"),  # as Urdu types it
            ("ڪالا", "کالا"),
            ("\u00adسکه\ufe0e", "سکه"),
        ],
    )
    def test_fold_makes_spellings_of_one_name_equal(self, one: str, other: str) -> None:
        assert fold(one) == fold(other)

    @each_row(
        ("one", "other"),
        [
            ("KASH", "kash"),
            ("A1", "A2"),
            ("A B", "AB"),
            ("سکه", "سکة"),
            ("آتی", "اتی"),
            ("0312 01", "031201"),
            ("سکه 1 2", "سکه 12"),
        ],
    )
    def test_fold_keeps_different_names_apart(self, one: str, other: str) -> None:
        assert fold_name(one) != fold_name(other)

    def test_fold_keeps_blanks_inside_a_text(self) -> None:
        assert fold("نیم  سكه") == "نیم  سکه"

    @given(st.text("eاییيك۰0\u0301\u0654\u0653\u200c\u200f\u2068 \u00a0ﷲ"))
    def test_fold_drops_invisible_marks_anywhere(self, name: str) -> None:
        for mark in "\u200c\u200f\u2068":
            assert fold(name.replace(mark, "")) == fold(name)
            assert fold_name(name.replace(mark, "")) == fold_name(name)

    @given(st.text() | st.text("eاآأییيكهۀئ۰0\u0301\u0640\u064e\u0651\u0653\u0654\u0655\u200c ﹶﷲ"))
    def test_fold_of_a_folded_name_changes_nothing(self, name: str) -> None:
        assert fold(fold(name)) == fold(name)
        assert fold_name(fold_name(name)) == fold_name(name)

    @given(st.text(st.characters(codec="ascii")))
    def test_fold_keeps_ascii_names_unchanged(self, name: str) -> None:
        assert fold_name(name) == fold_name(name + "\u200c") == name.strip()
