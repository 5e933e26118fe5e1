# The server of lesson 62, built from the wheel: docker build -t recsys-course .
#   docker run -p 127.0.0.1:8000:8000 -e API_KEY=... -v ./model:/srv/model:ro -v store:/srv/store recsys-course
FROM python:3.12-slim AS build
WORKDIR /src
COPY . .
RUN pip install --no-cache-dir build && python -m build --wheel --outdir /wheels

FROM python:3.12-slim
# LightGBM needs OpenMP's library
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*
COPY --from=build /wheels /wheels
RUN wheel="$(ls /wheels/*.whl)" \
    && pip install --no-cache-dir "$wheel[postgres]" --extra-index-url https://download.pytorch.org/whl/cpu \
    && rm -rf /wheels
# Not root: the model is read, the store and compiled kernels are written
RUN useradd --create-home --uid 1000 server && mkdir -p /srv/store && chown server /srv/store
USER server
ENV NUMBA_CACHE_DIR=/tmp/numba OMP_NUM_THREADS=1 MODEL=/srv/model STORE=/srv/store/recsys.db HOST=0.0.0.0 PORT=8000 WORKERS=2
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f\"http://127.0.0.1:{os.environ['PORT']}/ready\", timeout=2)"]
CMD ["python", "-c", "from recsys_course.serve import serve_from_env; serve_from_env()"]
