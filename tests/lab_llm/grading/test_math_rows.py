"""The rule of mathematics on answers that were once graded wrongly."""

import pytest
from lab_llm.grading.math_rule import reward

RIGHT = [
    ("C", "So the answer is $\\boxed{\\text{(C) } 5}$."),  # m_letter_C_with_value
    ("D", "So the answer is $\\boxed{\\textbf{(D)}\\ 12}$."),  # m_letter_textbf_value
    ("3,5", "$\\boxed{3}$ and $\\boxed{5}$"),  # m_two_boxes_and
    ("7", "<think>maybe \\boxed{5}</think> The answer is 7."),  # m_box_in_thinking_then_plain
    ("12000", "So the answer is $\\boxed{12\u2009000}$."),  # m_thousands_thinsp
    ("(1,2]", "So the answer is $\\boxed{1<x\\le 2}$."),  # m_interval_ineq
    ("0.\\overline{3}", "So the answer is $\\boxed{\\frac13}$."),  # m_dec_repeat
    (
        "\\begin{pmatrix}1\\\\2\\end{pmatrix}",
        "So the answer is $\\boxed{(1,2)}$.",
    ),  # m_matrix_vec_tuple
    ("30", "So the answer is $\\boxed{30\xb0}$."),  # m_degrees_symbol
    ("3/2", "So the answer is $\\boxed{1 1/2}$."),  # m_mixed_sp
    ("50", "So the answer is $\\boxed{50\\%}$."),  # m_percent
    ("50\\%", "So the answer is $\\boxed{50}$."),  # m_percent_gold
    ("0.5", "So the answer is $\\boxed{50%}$."),  # m_percent_100
    ("12", "So the answer is $\\boxed{\uff11\uff12}$."),  # m_fullwidth
    ("(3,5)", "So the answer is $\\boxed{\uff083\uff0c5\uff09}$."),  # m_fullwidth_paren
    ("-5", "So the answer is $\\boxed{\u20135}$."),  # m_unicode_endash
    ("1/2", "So the answer is $\\boxed{\xbd}$."),  # m_unicode_frac
    ("(2,\\infty)", "So the answer is $\\boxed{(2,\u221e)}$."),  # m_unicode_inf
    ("(3,5)", "So the answer is $\\boxed{\\bigl(3,5\\bigr)}$."),  # m_left_bigl
    ("yes", "The answer is yes."),  # m_yes_plain
    ("\\emptyset", "So the answer is $\\boxed{\\varnothing}$."),  # m_set_empty
    ("5", "\\boxed{\\color{red}5}"),  # m_boxed_textcolor
    ("5", "\\boxed{\\text{Answer: }5}"),  # m_boxed_answer_word
    ("\\frac{1}{2}", "So the answer is $\\boxed{\\sin 30^\\circ}$."),  # m_trig
    ("July 4", "So the answer is $\\boxed{\\text{July 4}}$."),  # m_date
    ("\\langle 1,2\\rangle", "So the answer is $\\boxed{(1,2)}$."),  # m_vec
    ("15360", "\\boxed{\\binom{10}{3}\\cdot 2^7}"),  # m_guard_binom_pow_boxed
    ("15/128", "\\boxed{\\binom{10}{3}\\left(\\frac12\\right)^{10}}"),  # m_guard_binom_prob
    ("8", "\\boxed{\\gcd(2^3,2^5)}"),  # m_guard_gcd_pow
    ("84", "Since gcd(2^2*3, 7)=1, the final answer is $84$."),  # m_guard_nobox_gcd
    ("12345", "The lcm is computed above. The final answer is $12345$."),  # m_guard_nobox_lcm5
    (
        "10",
        "We use $\\binom{5}{2}$. Since $x^2=100$, the answer is 10.",
    ),  # m_guard_nobox_binom_plain
    ("\\binom{10}{3}2^7", "\\boxed{\\dbinom{10}{3}2^7}"),  # m_guard_box_text_equal_dbinom
    (
        "\\binom{2022}{1011}2^{-2022}",
        "\\boxed{\\frac{\\binom{2022}{1011}}{2^{2022}}}",
    ),  # m_guard_gold_binom_pow
    ("2^{20000}", "\\boxed{4^{10000}}"),  # m_pow_big_equal
    ("2^{20000}", "\\boxed{2^{20000}-0}"),  # m_pow_big_nobraces
    ("2022", "\\boxed{\\frac{2022!}{2021!}}"),  # m_fact_big_ratio
    ("2^{20000}-1", "\\boxed{-1+2^{20000}}"),  # m_pow_big_minus_swapped
    ("(x+1)^{400}", "\\boxed{(1+x)^{400}}"),  # m_terms_guard
    ("B", "The answer is (B)."),  # m_nb_answer_letter
    ("B", "Answer: B"),  # m_nb_answer_letter2
    ("50\\%", "The answer is 50%."),  # m_nb_percent
    ("5", "Put it in \\boxed{answer}. The answer is 5."),  # m_box_in_verbatim
    ("5", "The answer is \\boxed{5}. As asked, in \\boxed{}."),  # m_box_template_end
    ("5", "\\boxed{5} in the form \\boxed{...}"),  # m_box_placeholder_last
    ("5", "\\boxed{\u0665}"),  # m_box_arabic_digits
    ("5", "\\boxed{\u200b5}"),  # m_box_zerowidth
    ("1e-05", "\\boxed{0.00001}"),  # m_gold_exp
    ("1e3", "\\boxed{1000}"),  # m_gold_1e3
    ("1e+16", "\\boxed{10^{16}}"),  # m_gold_1e16
    ("1-\\frac{1}{\\mathrm{e}}", "\\boxed{1-\\frac1e}"),  # mv14_mathrm_e_same
    ("28\\%", "\\boxed{28}"),  # mv67_pct
    ("28\\%", "\\boxed{28\\text{ percent}}"),  # mv67_pct_word
]
WRONG = [
    ("5", "<think>maybe \\boxed{5}</think> I am not sure."),  # m_box_in_thinking_only
    ("5", "maybe \\boxed{5}</think> I am not sure."),  # m_box_in_thinking_only_open
    ("5", "<think>try \\boxed{5}? let me go on"),  # m_box_in_unfinished_thinking
    ("1011_2", "So the answer is $\\boxed{1011_3}$."),  # m_base_other
    ("0.1234567", "So the answer is $\\boxed{0.1234568}$."),  # m_near_float
    ("1/7", "So the answer is $\\boxed{0.142857}$."),  # m_frac_float_off
    ("0", "\\boxed{1 000}"),  # m_fp_space_zero
    ("0", "\\boxed{12 000 000}"),  # m_fp_space_zero2
    ("1.2", "\\boxed{\\langle 1,2\\rangle}"),  # m_fp_langle
    ("6/5", "\\boxed{\\langle 1,2\\rangle}"),  # m_fp_langle2
    ("yes", "\\boxed{sey}"),  # m_fp_word_yes_anagram
    ("1011_2", "\\boxed{1011_{10}}"),  # m_fp_base
    ("5", "\\boxed{x=3=5}"),  # m_fp_eq_chain_last
    ("0.0000001", "\\boxed{0.0000002}"),  # m_fp_tiny_vs_tiny
    ("2^{-30}", "\\boxed{0.0}"),  # m_fp_prob_small_dec2
    ("\\sqrt{2}", "\\boxed{1.414214}"),  # m_fp_sqrt2_dec
    ("e", "\\boxed{2.718282}"),  # m_fp_e_dec
    ("5\\text{ km}", "\\boxed{5\\text{ m}}"),  # m_fp_units_km
    ("5\\text{ cm}^2", "\\boxed{5\\text{ cm}}"),  # m_fp_units_sq
    ("\\frac{1}{20!}", "\\boxed{\\frac{1}{22!}}"),  # mv14_tiny_fact_small
    ("\\frac{1}{2^{99}}", "\\boxed{\\frac{1}{2^{98}}}"),  # mv14_tiny_pow
]


@pytest.mark.parametrize(("gold", "completion"), RIGHT)
def test_a_right_answer_earns_1(gold, completion):
    assert reward(gold, completion) == 1.0


@pytest.mark.parametrize(("gold", "completion"), WRONG)
def test_a_wrong_answer_earns_0(gold, completion):
    assert reward(gold, completion) == 0.0
