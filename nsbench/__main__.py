"""`python -m nsbench`, and so `torchrun -m nsbench`."""

from nsbench.cli import main

if __name__ == "__main__":
    main()
