"""Every image to its findings; what cannot be read is named, and the rest is checked."""

from collections.abc import Callable, Sequence

from .calibration import Calibration
from .diagnosis import Diagnosis
from .images import Expected, LayoutFile
from .reading import FaceReader, Unreadable
from .values import Checked, ImageFile, People

NAMED = 5  # names in one note


def check_images(
    images: Sequence[ImageFile],
    layout: LayoutFile,
    people: People,
    calibration: Calibration,
    reader: FaceReader,
    on_image: Callable[[], object] = lambda: None,
) -> tuple[list[Checked], list[tuple[str, str]]]:
    """The findings in the order of the images, and the label of every image without any, with the reason."""
    diagnosis = Diagnosis(people, calibration)
    everybody = Expected(dict.fromkeys(people.names))
    checked: list[Checked] = []
    unread: list[tuple[str, str]] = []
    for image in images:
        try:
            checked.append(diagnosis.check(image, reader.read(image.path), layout.of(image) or everybody))
        except Unreadable as error:
            unread.append((image.label, str(error)))
        except ValueError as error:
            unread.append((image.label, f"{image.label}: {error}"))
        on_image()
    return checked, unread


def leftovers(layout: LayoutFile, people: People) -> list[str]:
    """What the layout says of people without photos."""
    strangers = [name for name in layout.names if name not in people.names]
    if not strangers:
        return []
    more = "" if len(strangers) <= NAMED else f" and {len(strangers) - NAMED} more"
    return [
        f"The layout expects {', '.join(strangers[:NAMED])}{more}, of whom no photo can be used; they are left out. "
        f"People with photos: {', '.join(people.names[:NAMED])}."
    ]
