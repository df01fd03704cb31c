# docker build -t latentcast . && docker run --rm -p 8000:8000 --read-only --tmpfs /tmp latentcast
# With an NVIDIA card: --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130, then docker run --gpus all ...
FROM python:3.12-slim AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /src
COPY constraints.txt ./
RUN python -m venv /opt/latentcast \
 && /opt/latentcast/bin/pip install --no-cache-dir --no-deps --extra-index-url "$TORCH_INDEX" "$(grep '^torch==' constraints.txt)"
COPY pyproject.toml README.md LICENSE ./
COPY service service
COPY scheduler scheduler
COPY models models
RUN /opt/latentcast/bin/pip install --no-cache-dir --extra-index-url "$TORCH_INDEX" --constraint constraints.txt .

FROM python:3.12-slim
RUN useradd --system --uid 10001 --home-dir /tmp latentcast
COPY --from=build /opt/latentcast /opt/latentcast
ENV PATH=/opt/latentcast/bin:$PATH HF_HOME=/tmp/huggingface PYTHONUNBUFFERED=1
USER 10001
EXPOSE 8000
HEALTHCHECK --start-period=60s CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/livez', timeout=3)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["latentcast"]
CMD ["serve", "--host", "0.0.0.0"]
