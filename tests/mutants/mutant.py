"""A mutant: one place where the right code is replaced by code that falls into a trap."""

from dataclasses import dataclass
from pathlib import Path

__all__ = ["ROOT", "Mutant"]

ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Mutant:
    """Code that looks right and is not, and the tests that say so."""

    #: The trap's number, in the front matter of a page in docs/cancellation; 0: a mend without one.
    trap: int
    #: What is wrong with the code, in a few words.
    name: str
    #: The file, from the repository's root.
    file: str
    #: The right code: text that occurs once in the file, indentation included.
    right: str
    wrong: str
    #: pytest's names of tests of which at least one has to fail.
    tests: tuple[str, ...]
    #: More pairs of right and wrong code in the same file.
    also: tuple[tuple[str, str], ...] = ()

    @property
    def id(self) -> str:
        """What a person calls it by."""
        return f"{self.trap:02} {self.name}"

    def applied_to(self, text: str) -> str:
        """Return a file's text with the wrong code in it.

        Raises:
            ValueError: the right code is not there, or not only once.

        """
        for right, wrong in ((self.right, self.wrong), *self.also):
            count = text.count(right)
            if count != 1:
                message = f"{self.id}: the right code is {count} times in {self.file}, not once"
                raise ValueError(message)
            text = text.replace(right, wrong)
        return text
