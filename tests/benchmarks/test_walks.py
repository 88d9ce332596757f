from benchmarks.walks import drawing, figures, walk


def test_a_walk_counts_modules_once_and_every_return_to_one() -> None:
    summary = figures("x", ["cli.a", "cli.a", "runtime.b", "cli.a", "runtime.c"])

    assert (summary["modules"], summary["returns"], summary["functions"]) == (3, 1, 5)
    assert summary["packages"] == ["cli", "runtime"]


def test_a_walk_holds_the_functions_of_andon_in_the_order_of_their_first_call() -> None:
    from andon.calibration.promise import parts_needed
    from andon.foundation.printable import printable

    def work() -> None:
        printable("a")
        parts_needed(0.05)
        printable("b")

    assert list(dict.fromkeys(walk(work))) == ["foundation.printable", "calibration.promise"]


def test_the_drawing_counts_the_modules_of_each_package() -> None:
    svg = drawing({"a frame through the runtime": ["cli.score", "runtime.detector", "runtime.session"]})

    assert ">1<" in svg
    assert ">2<" in svg
    assert "a frame through" in svg
