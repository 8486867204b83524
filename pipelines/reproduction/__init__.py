"""`cryotwin reproduce`: the experiments of the paper, as it made them and as cryotwin does.

One module an experiment; `experiments` lists them, `result` says what each gives, `workspace` keeps
what was done. Banjac, Donati, Defferrard (2021), Learning to recover orientations from projections
in single-particle cryo-EM.
"""
