"""A real ComfyUI on this machine, with this pack and the stand-ins as its only custom nodes."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from ..pack import COMFYUI, ROOT, TESTBED
from .photos import write_photos
from .queued import completed
from .small_files import write_small_files

HERE = Path(__file__).resolve().parent
FOLDERS = ("models", "input", "output", "temp", "user", "custom_nodes")
PACKS = {"withanyone": ROOT, "standins": HERE / "standins"}
# How the C library keeps memory. FAST: what is freed stays, so that not half of the time goes into fetching it again.
# EXACT: it goes back to the system at once, so that resident memory is what the server uses.
FAST = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**33)}
EXACT = {"MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_THRESHOLD_": str(2**18), "MALLOC_TRIM_THRESHOLD_": str(2**20)}
START_SECONDS = 120
RUN_SECONDS = 300
PAUSE_SECONDS = 0.05

Graph = Mapping[str, Mapping[str, Any]]


class PromptError(RuntimeError):
    """A graph that the server refused or could not finish; the message holds the server's own words."""


class ComfyServer:
    """Starts a server in a scratch folder on entry and ends it on exit.

    The folder gets photographs (input/person_1.jpg and so on) and the small model files that real loaders read, under
    the names the shipped workflows use.
    """

    def __init__(self, device: str = "cpu", options: tuple[str, ...] = (), exact_memory: bool = False) -> None:
        self.base = Path(tempfile.mkdtemp(prefix="withanyone_"))
        self.log_file = self.base / "server.log"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.options = (*options, "--cpu") if device == "cpu" else options
        self.memory_habits = EXACT if exact_memory else FAST
        self.process: subprocess.Popen[bytes] | None = None
        self._nodes: dict[str, Any] = {}

    def __enter__(self) -> "ComfyServer":
        try:
            self._furnish()
            self._start()
            self._wait_until(self._answers, START_SECONDS, "ComfyUI did not start")
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _furnish(self) -> None:
        for folder in FOLDERS:
            (self.base / folder).mkdir()
        for name, folder in PACKS.items():
            (self.base / "custom_nodes" / name).symlink_to(folder)
        write_photos(self.base / "input")
        write_small_files(self.base / "models")

    def _start(self) -> None:
        command = [sys.executable, str(HERE / "launch.py"), str(COMFYUI / "main.py"), *self.options]
        command += ["--listen", "127.0.0.1", "--port", str(self.port), "--base-directory", str(self.base)]
        command += ["--database-url", "sqlite:///:memory:", "--preview-method", "none", "--disable-api-nodes"]
        command += ["--disable-all-custom-nodes", "--whitelist-custom-nodes", *PACKS]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environment |= {"WITHANYONE_TESTBED": str(TESTBED), "WITHANYONE_PARENT": str(os.getpid())}
        environment |= self.memory_habits
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(command, cwd=self.base, env=environment, stdout=log, stderr=log)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.base, ignore_errors=True)

    def log(self) -> str:
        """All that the server has written so far."""
        return self.log_file.read_text(errors="replace")

    def object_info(self) -> dict[str, Any]:
        """The description of every node, by its id."""
        return self.get("/object_info")

    def completed(self, graph: Graph) -> Graph:
        """The graph with this server's defaults for widgets that its nodes have gained since the graph was saved."""
        self._nodes = self._nodes or self.object_info()
        return completed(graph, self._nodes)

    def queue(self, graph: Graph) -> str:
        """Hands over an API graph as the page would, with every widget; returns the prompt's id.

        Raises PromptError where the server refuses it.
        """
        answer = self.post("/prompt", {"prompt": self.completed(graph)})
        if answer["node_errors"]:  # a graph is taken, too, where only some of its outputs can be made
            raise PromptError(readable_faults(answer["node_errors"]))
        return answer["prompt_id"]

    def wait(self, prompt: str, seconds: float = RUN_SECONDS) -> dict[str, Any]:
        """The history of a prompt once it is done. Raises PromptError where a node failed or it was interrupted."""
        self._wait_until(lambda: prompt in self.get(f"/history/{prompt}"), seconds, "The graph did not finish")
        history = self.get(f"/history/{prompt}")[prompt]
        if history["status"]["status_str"] != "success":
            raise PromptError(failure(history["status"]["messages"]))
        return history

    def run(self, graph: Graph, seconds: float = RUN_SECONDS) -> dict[str, Any]:
        return self.wait(self.queue(graph), seconds)

    def wait_for_step(self, step: int, steps: int) -> None:
        """Until the sampler that runs now has done at least this many of its steps; not every one is reported."""
        reported = re.compile(rf" (\d+)/{steps} ")
        self._wait_until(
            lambda: any(int(done) >= step for done in reported.findall(self.log())),
            RUN_SECONDS,
            f"Step {step} was not reached",
        )

    def interrupt(self) -> None:
        self.post("/interrupt", {})

    def free(self) -> None:
        """Asks the server to unload its models and forget its cached results."""
        self.post("/free", {"unload_models": True, "free_memory": True})

    def images(self, history: Mapping[str, Any], node: str | None = None) -> list[Path]:
        """The image files of a finished prompt, saved ones and previews, of one node or of all."""
        outputs = history["outputs"]
        chosen = outputs.values() if node is None else [outputs[node]]
        files = [file for output in chosen for file in output.get("images", ())]
        return [self.base / file["type"] / file["subfolder"] / file["filename"] for file in files]

    def loaded_models(self) -> list[str]:
        """The classes of the models that ComfyUI's memory manager holds, sorted."""
        return self.get("/standins/loaded_models")

    def memory_mb(self) -> float:
        """Resident memory of the server's process; what it uses, in a server started with `exact_memory`."""
        return psutil.Process(self.process.pid).memory_info().rss / 2**20

    def get(self, path: str) -> Any:
        return self._ask(urllib.request.Request(self.url + path))

    def post(self, path: str, content: Any) -> Any:
        headers = {"Content-Type": "application/json"}
        return self._ask(urllib.request.Request(self.url + path, json.dumps(content).encode(), headers))

    def _ask(self, request: urllib.request.Request) -> Any:
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                body = answer.read()
        except urllib.error.HTTPError as error:
            raise PromptError(refusal(error.read().decode(errors="replace"))) from error
        return json.loads(body) if body else None

    def _answers(self) -> bool:
        try:
            self.get("/system_stats")
        except urllib.error.URLError:
            return False
        return True

    def _wait_until(self, done: Callable[[], bool], seconds: float, otherwise: str) -> None:
        end = time.monotonic() + seconds
        while not done():
            if self.process.poll() is not None:
                raise RuntimeError(f"{otherwise}: it ended with {self.process.returncode}.\n{self.log()[-5000:]}")
            if time.monotonic() > end:
                raise TimeoutError(f"{otherwise} within {seconds} seconds.\n{self.log()[-5000:]}")
            time.sleep(PAUSE_SECONDS)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def failure(messages: list[tuple[str, dict[str, Any]]]) -> str:
    """The server's messages about a prompt that did not end well, as one sentence."""
    for kind, message in messages:
        if kind == "execution_error":
            node = f"{message['node_type']} (node {message['node_id']})"
            return f"{node}: {message['exception_message'].strip()}"
        if kind == "execution_interrupted":
            return "interrupted"
    return "the server gave no reason"


def refusal(body: str) -> str:
    """What the server says of a graph that it does not accept."""
    try:
        answer = json.loads(body)
        return f"{answer['error']['message']}\n{readable_faults(answer['node_errors'])}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return body


def readable_faults(node_errors: Mapping[str, Any]) -> str:
    """A line for each node at fault."""
    lines = []
    for node, faults in node_errors.items():
        errors = "; ".join(f"{error['message']}: {error['details']}" for error in faults["errors"])
        lines.append(f"{faults['class_type']} (node {node}): {errors}")
    return "\n".join(lines)
