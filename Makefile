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

test: setup airflow-environment lint  ## Run every test that belongs to a change: laws, units, engines, notebooks
	@nice $(PYTEST) -q

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
