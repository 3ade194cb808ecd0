"""The released sigma schedule for ComfyUI's samplers."""

from comfy_api.latest import io

from ..withanyone_core.schedule import TOKEN_COUNTS, released_sigmas
from . import sockets


class WithAnyoneScheduler(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WithAnyoneScheduler",
            display_name="WithAnyone Scheduler",
            category=sockets.CATEGORY,
            description="The sigmas the released WithAnyone steps through; ComfyUI's schedulers for Flux give others.",
            inputs=[
                io.Int.Input("steps", default=25, min=1, max=10000, tooltip="Sampling steps; released default 25."),
                io.Int.Input(
                    "width", default=1024, min=16, max=16384, step=16, tooltip="Width of the canvas in pixels."
                ),
                io.Int.Input(
                    "height", default=1024, min=16, max=16384, step=16, tooltip="Height of the canvas in pixels."
                ),
                io.Float.Input(
                    "denoise",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Below 1 only the last part of the schedule is run, for image to image.",
                ),
                io.Combo.Input(
                    "token_count",
                    options=list(TOKEN_COUNTS),
                    default=TOKEN_COUNTS[0],
                    tooltip="The released program counts 1/64 of the image tokens when it shifts its schedule. "
                    "'true' counts them all, as FLUX.1 itself does: more steps at high noise in large images.",
                ),
            ],
            outputs=[io.Sigmas.Output("sigmas", display_name="sigmas")],
        )

    @classmethod
    def execute(cls, steps: int, width: int, height: int, denoise: float, token_count: str) -> io.NodeOutput:
        return io.NodeOutput(released_sigmas(steps, width, height, denoise, token_count))


NODES: tuple[type[io.ComfyNode], ...] = (WithAnyoneScheduler,)
