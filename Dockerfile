# The Airflow side of the loop: scheduler, web, DAG parsing, and the tasks that run without a GPU.
# The cluster image (OpenRLHF, vLLM, Ray) is another one: see the extra `gpu` in pyproject.toml.
FROM apache/airflow:3.3.2-python3.11

USER root
RUN install -d -o airflow -g root -m 775 /opt/itpo /opt/itpo/lake /opt/airflow/state
USER airflow
WORKDIR /opt/itpo

# An environment of its own, in front of the one of the base image: the locked set that the tests run is the set
# that is deployed. torch first and alone (see requirements/torch.txt); the lock fixes everything else by hash.
ENV PATH=/opt/itpo/.venv/bin:$PATH
COPY --chown=airflow:root requirements/ requirements/
RUN python -m venv .venv \
 && .venv/bin/python -m pip install --no-cache-dir --require-hashes -r requirements/uv.txt \
 && .venv/bin/python -m pip install --no-cache-dir --no-compile -r requirements/torch.txt \
 && .venv/bin/uv pip install --no-cache --python .venv/bin/python --require-hashes -r requirements/lock.txt \
 && { .venv/bin/python -m compileall -qq -j 0 .venv/lib || true; }

COPY --chown=airflow:root . .
RUN .venv/bin/uv pip install --no-cache --python .venv/bin/python --no-deps --no-build-isolation --editable .
