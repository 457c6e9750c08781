//! The order of phases, steps and failures, on policies made for the purpose.
