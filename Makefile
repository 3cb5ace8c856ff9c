# Every target sets up what it needs by itself: Python 3.11, a JDK 17 or newer and make are enough.
PYTHON ?= python3.11
MATINEE := .venv/bin/matinee
# `make demo RATINGS=DIR TRACES=DIR`
DEMO := $(if $(RATINGS),--ratings "$(RATINGS)") $(if $(TRACES),--traces "$(TRACES)")
PYTEST := .venv/bin/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all lint up down status logs doctor sql dist airflow spark-cluster docs clean

help:  ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup:  ## Make the environments, fetch the jars, build the kernel (every target below does it when needed)
	@$(PYTHON) -m conf.bootstrap main streaming

demo: setup  ## Play the whole loop and write the report; RATINGS=DIR TRACES=DIR for real input
	@$(MATINEE) demo $(DEMO)

test: setup  ## Run every test that belongs to a change: laws, units, engines, notebooks
	@$(MAKE) --no-print-directory -j2 -o setup airflow-environment lint
	@$(MAKE) --no-print-directory -j2 -k tests-with-stack tests-without-stack

# Much of a test with broker or Flink is waiting: the others run beside it and are shown at their end.
.PHONY: tests-with-stack tests-without-stack
tests-with-stack:
	@nice $(PYTEST) -q -m "kafka or flink"
tests-without-stack:
	@code=0; nice $(PYTEST) -q -m "not (kafka or flink)" >var/tests.log 2>&1 || code=$$?; cat var/tests.log; exit $$code

test-all: test  ## The same and the slow repetitions: more seeds, every kill
	@MATINEE_TEST_ALL=1 nice $(PYTEST) -q

lint: setup  ## Check style, types, layers and generated files
	@.venv/bin/ruff check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports --no-logo
	@$(MATINEE) schemas check

up: setup  ## Start Kafka and Flink on this machine
	@$(MATINEE) up

down:  ## Stop exactly what `up` started
	@if [ -x $(MATINEE) ]; then $(MATINEE) down; else echo "nothing was running: set-up has not been done"; fi

status: setup  ## Show processes, health and stream jobs
	@$(MATINEE) status

logs: setup  ## Print the end of a log; SERVICE=broker|jobmanager|taskmanager|supervisor
	@$(MATINEE) logs $(SERVICE)

doctor:  ## Check this machine and say what to do
	@[ -x $(MATINEE) ] || $(PYTHON) -m conf.bootstrap main streaming
	@$(MATINEE) doctor

sql: setup  ## Ask the lake a question in SQL; Q="SELECT ..."
	@$(MATINEE) sql $(if $(Q),"$(Q)")

dist: setup  ## Write what spark-submit needs on a cluster into dist/
	@$(MATINEE) dist

airflow: setup airflow-environment  ## Run Airflow with our DAGs on loopback
	@$(MATINEE) airflow

spark-cluster: setup  ## Start a standalone Spark master and workers on loopback; `matinee spark-cluster down` stops them
	@$(MATINEE) spark-cluster up

docs: setup  ## Write the generated documentation pages
	@$(MATINEE) docs

clean: setup  ## Remove lake, demos and runs under var/; environments and jars stay
	@$(MATINEE) clean

.PHONY: airflow-environment
airflow-environment: setup
	@$(PYTHON) -m conf.bootstrap airflow
