"""A video's frames through a model, to a video of the same frame rate."""

from collections.abc import Iterator
from concurrent.futures import Executor
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from tqdm import tqdm

from jaxseg.errors import InputError
from jaxseg.pictures import PALETTE, overlay
from jaxseg.predicting.inference import prepared, through
from jaxseg.predicting.inputs import Item
from jaxseg.predicting.outputs import FILMED, Job, begun, path_of
from jaxseg.predicting.photograph import Orientation
from jaxseg.run import write_whole

Frame = UInt8[np.ndarray, "height width 3"]


def predict_video(item: Item, job: Job, pool: Executor, bar: tqdm) -> dict[str, Any]:
    """Write the video with its masks over it, and that of the masks alone, as asked for; the video's record.

    H.264 in an .mp4, at the video's mean frame rate and without its sound. Of an odd side the last pixel is left out,
    which the format can't hold.

    Raises:
        InputError: if PyAV is not installed, the file is no video, or neither overlay nor mask is asked for.
    """
    kinds = [kind for kind in FILMED if kind in job.save]
    if not kinds:
        raise InputError(f"{item.path}: of a video, --save overlay or --save mask can be written.")
    av = import_av()

    def write(open_files: dict[str, Path]) -> None:
        """One kind's file inside the other's, so that both are whole or not there."""
        if len(open_files) < len(kinds):
            kind = kinds[len(open_files)]
            return write_whole(path_of(job.out, kind, item), lambda file: write({**open_files, kind: file}))
        return film(av, item, open_files, job, pool, bar)

    try:
        write({})
    except (av.FFmpegError, IndexError) as error:
        raise InputError(f"{item.path} can't be read as a video: {error}.") from error
    return {**begun(item), "video": True}


def import_av() -> Any:
    try:
        import av
    except ImportError as error:
        raise InputError("videos need the package av: pip install 'jaxseg[video]'") from error
    return av


def film(av: Any, item: Item, files: dict[str, Path], job: Job, pool: Executor, bar: tqdm) -> None:
    with av.open(str(item.path)) as source:
        stream = source.streams.video[0]
        frames = upright_frames(source.decode(stream), job.setting.orientation)
        rate = stream.average_rate or Fraction(25)
        outputs = {kind: av.open(str(file), "w", format="mp4") for kind, file in files.items()}
        streams = {kind: output.add_stream("libx264", rate=rate) for kind, output in outputs.items()}
        colours = PALETTE if job.network.outputs > 1 else np.array([[0] * 3, [255] * 3], np.uint8)
        try:
            subjects = through(job.network, prepared(frames, job.network, job.setting, pool, 2), job.batch_size)
            for number, subject in enumerate(subjects, 1):
                if subject.work is None:
                    raise InputError(f"{item.path}, frame {number}: {subject.fault}")
                mask = subject.work.finish().mask
                for kind, output in outputs.items():
                    drawn = overlay(subject.source, mask) if kind == "overlay" else colours[mask]  # pyright: ignore[reportArgumentType]
                    if number == 1:
                        open_stream(streams[kind], drawn)
                    encode(av, output, streams[kind], drawn)
                bar.set_postfix_str(f"frame {number} of {stream.frames or 'many'}")
            for kind, output in outputs.items():
                output.mux(streams[kind].encode())  # what the encoder holds back
        finally:
            for output in outputs.values():
                output.close()


def upright_frames(frames: Iterator[Any], orientation: Orientation) -> Iterator[Frame]:
    """As arrays; turned as players show them, unless stored ones are wanted."""
    for frame in frames:
        array = frame.to_ndarray(format="rgb24")
        quarters = round(frame.rotation / 90) if orientation == "shown" else 0  # counterclockwise
        yield np.ascontiguousarray(np.rot90(array, quarters))


def open_stream(stream: Any, picture: Frame) -> None:
    stream.height, stream.width, stream.pix_fmt = picture.shape[0] // 2 * 2, picture.shape[1] // 2 * 2, "yuv420p"
    stream.options = {"crf": "16"}  # the edges of masks stay sharp


def encode(av: Any, output: Any, stream: Any, picture: Frame) -> None:
    cut = np.ascontiguousarray(picture[: stream.height, : stream.width])
    output.mux(stream.encode(av.VideoFrame.from_ndarray(cut, format="rgb24")))
