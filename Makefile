# A newcomer needs two: `make demo` and `make test`. Both make .venv the first time and only then.
VENV   ?= .venv
PYTHON ?= python3
BIN    := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
READY  := $(VENV)/.ready
FLAGS  := OMP_NUM_THREADS=1 MPLBACKEND=agg

# Lessons run on the simulated world unless real data is pointed at
ifdef RECSYS_COURSE_DATA
export RECSYS_COURSE_DATA := $(abspath $(RECSYS_COURSE_DATA))
else
TEST_DATA := RECSYS_COURSE_DATASET=world
endif

.PHONY: demo test lab serve export bench site clean

demo: $(READY)
	$(BIN)/recsys-course demo

# Tests of one file stay in one process: those of the exercises share what they ran
WORKERS ?= 2
test: $(READY)
	$(FLAGS) $(TEST_DATA) $(BIN)/nbdev-test --timing
	$(FLAGS) $(TEST_DATA) $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(TESTS)

# The learner's copies first: solutions are one folder further
lab: $(READY)
	$(BIN)/jupyter lab --notebook-dir=. exercises/00_overview.ipynb

# A page for people: the model in MODEL, or one of the course's data that is made the first time
MODEL ?= .serve/model
serve: $(READY)
	test -e $(MODEL) || { mkdir -p $(dir $(MODEL)) && $(BIN)/recsys-course train course --model ItemKNN --out $(MODEL); }
	$(BIN)/recsys-course serve $(MODEL)

# All that is made from the notebooks: library, lists of lessons and models, learner's copies, README
export: $(READY)
	$(BIN)/python .ci/export.py

bench: $(READY)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[bench,ann,spark]'
	$(BIN)/python benchmarks/run.py

site: $(READY)
	$(BIN)/python -c "import material, latex2mathml, ziamath" 2>/dev/null || $(BIN)/python -m pip install -q -c constraints.txt -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict -q -f docs/mkdocs.yml
	@echo "The site is in _docs: $(BIN)/python -m http.server -d _docs shows it"

$(READY): settings.ini setup.py pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) _docs build dist *.egg-info
