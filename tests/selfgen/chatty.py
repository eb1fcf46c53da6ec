"""A backend whose long answers repeat, as those of an LLM that does not look at the seed description."""

from nemo_desta.selfgen.backends import Generation
from tests.selfgen.fake import FakeBackend

LONG = (
    "This is a fine recording of something that can be heard from beginning to end without any break, and whoever "
    "listens to it will surely agree that it sounds just as it should. One might say more about where it was made, who "
    "was there at that time, or what came before; yet nothing of this matters much, because the clip stands well alone, "
    "clear and plain, pleasant even for tired ears."
)


class ChattyBackend(FakeBackend):
    """One long answer to most requests, in two wordings; a short one, a betraying one and an error to some."""

    @staticmethod
    def _answer(request) -> Generation:
        number = int(request.id.removeprefix("cut").rpartition("-")[0])
        if number % 11 == 4:
            return Generation(error="out of luck")
        if number % 7 == 3:
            return Generation("The metadata says so.", "stop", 4)
        if number % 5 == 2:
            return Generation("A piano.", "stop", 2)
        return Generation(LONG if number % 3 else LONG.replace("surely agree", "surely say"), "stop", 40)
