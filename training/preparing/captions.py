"""Words for images that have none."""

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def head_count(people: int) -> str:
    """ "one person", "two people", ...; empty for nobody. This text stands for the caption where it is dropped."""
    if people == 0:
        return ""
    number = NUMBERS[people] if people < len(NUMBERS) else str(people)
    return f"{number} person" if people == 1 else f"{number} people"


def plain_caption(people: int) -> str:
    """ "a photo of two people": what is true of every image."""
    return f"a photo of {head_count(people)}" if people else "a photo"
