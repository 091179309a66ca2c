# Everything a new user needs. The virtual environment is made once and again when the pins change.
PYTHON ?= python3
VENV = .venv
RUN = $(VENV)/bin/python
READY = $(VENV)/.ready

.PHONY: demo test lint torture bench sample-models setup clean

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --upgrade pip
	$(RUN) -m pip install --quiet torch==2.13.0
	$(RUN) -m pip install --quiet -r requirements.lock
	$(RUN) -m pip install --quiet --no-deps -e .
	touch $(READY)

demo: setup
	$(RUN) -m medcam demo

test: setup lint
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n 2 --dist loadfile -m "not torture"

lint: setup
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

torture: setup
	$(RUN) -m pytest -m torture

bench: setup
	$(RUN) -m tests.benchmarks

sample-models: setup
	$(RUN) -m medcam.training.demonstration

clean:
	rm -rf $(VENV) demo build dist
