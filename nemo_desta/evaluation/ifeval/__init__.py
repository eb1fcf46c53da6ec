"""Instructions that a program can check (IFEval): Google's 25 checkers, sentences, words."""
