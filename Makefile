# Short names for the commands of CONTRIBUTING.md.
PYTHON ?= python
BENCHMARKS = nw_fill scoring row_jsd edit_kernel soft_align train_step
BUILD = $(PYTHON) -m pip install -c constraints.txt --no-deps -e .
KERNEL_TESTS = tests/test_alignment.py tests/test_edit_kernel.py tests/nwa/test_row_jsd.py \
  tests/encoders/test_soft_alignment.py tests/search/test_kmers.py tests/test_scoring.py

.PHONY: help install lint types test docs sanitize bench all
.NOTPARALLEL:

help: ## list these names
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "%-9s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

install: ## install the package for work on it, at the tested versions; after a change in C or Cython, build it again
	$(PYTHON) -m pip install -c constraints.txt -e '.[test,docs]'

lint: ## ruff: style and format
	ruff check .
	ruff format --check .

types: ## mypy, strict
	mypy

test: ## all tests but the slow ones, on every core
	$(PYTHON) -m pytest

docs: ## build the site in build/docs with Sphinx; warnings are errors
	$(PYTHON) -m sphinx -W --keep-going -b html docs build/docs

sanitize: ## test the kernels under address and undefined-behaviour sanitizers (gcc), then build them as usual
	CFLAGS="-g -fsanitize=address,undefined -fno-sanitize-recover=undefined" $(BUILD)
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so) $$(g++ -print-file-name=libstdc++.so.6)" \
	  ASAN_OPTIONS=detect_leaks=0 $(PYTHON) -m pytest -n0 $(KERNEL_TESTS); status=$$?; $(BUILD) && exit $$status

bench: ## benchmarks of the kernels and of a training step, best on an idle machine
	for name in $(BENCHMARKS); do $(PYTHON) examples/benchmarks/$$name.py || exit; done

all: install lint types docs test ## what a change has to pass; .ci/run does it in fresh environments
