"""The judge of claims: tables of numbers in, words on two axes out. It knows no paper, no report and nothing else of this package."""
