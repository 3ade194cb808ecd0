"""The socket types that only this pack's nodes exchange."""

from comfy_api.latest import io

Adapter = io.Custom("WITHANYONE_ADAPTER")
FaceAnalysis = io.Custom("WITHANYONE_FACE_ANALYSIS")
Identity = io.Custom("WITHANYONE_IDENTITY")
Layout = io.Custom("WITHANYONE_LAYOUT")
Faces = io.Custom("WITHANYONE_FACES")

CATEGORY = "WithAnyone"
