# Two commands do everything from a bare clone: `make demo` and `make test`.
# TORCH=... chooses another build, e.g. make demo TORCH="torch==2.13.0 --index-url <CUDA wheels>".

PYTHON ?= python3
TORCH ?= torch==2.13.0
PY := .venv/bin/python
RUN ?= logs/demo/$(shell date +%Y-%m-%d_%H-%M-%S)

.PHONY: install demo test slow lint

install: .venv/.installed

.venv/.installed: pyproject.toml
	test -x $(PY) || $(PYTHON) -m venv .venv
	$(PY) -c "import torch" 2>/dev/null || $(PY) -m pip install $(TORCH)
	$(PY) -m pip install -e ".[dev]"
	touch $@

demo: install
	.venv/bin/pc3d demo out=logs/demo/room
	PC3D_RUN_DIR=$(RUN) $(PY) train.py experiment=demo
	$(PY) test.py run=$(RUN)
	$(PY) -m visualize run=$(RUN) out=$(RUN)/scene.html
	@echo "open $(RUN)/scene.html in a browser"

lint: install
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

# Two processes of one thread each: threads of both would wait for each other.
test: lint
	OMP_NUM_THREADS=1 $(PY) -m pytest -q -m "not slow" -n 2 --dist worksteal

slow: install
	$(PY) -m pytest -q -m slow
