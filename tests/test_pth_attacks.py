"""Files that would run code in Python's own pickle are refused, and nothing in them runs."""

import os
import pathlib
import pickle
import zipfile

import numpy as np
import pytest
from pth_pieces import MAGIC, archive, function, mapping, tensor, text

from jaxseg.pth import PthError, read_pth


class Evil:
    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


class Stateful:
    def __reduce__(self):
        return Stateful, (), {"a": 1}

    def __setstate__(self, state):
        raise AssertionError("ran code from the file")


def attacks(canary: pathlib.Path) -> dict[str, bytes]:
    """Pickles that would make a folder, the canary, if their code ran."""
    command = f"mkdir {canary}"
    call = text(command) + b"\x85R"
    stock = {
        f"{name} in protocol {protocol}": pickle.dumps(evil, protocol)
        for protocol in range(6)
        for name, evil in {
            "os.system": Evil(os.system, command),
            "os.mkdir": Evil(os.mkdir, str(canary)),
            "eval": Evil(eval, f"__import__('os').mkdir({str(canary)!r})"),
            "in a dictionary": {"state_dict": {"w": Evil(os.system, command)}},
        }.items()
    }
    by_hand = {
        "global": b"cos\nsystem\n" + call,
        "stack global": b"\x8c\x02os\x8c\x06system\x93" + call,
        "inst": b"(" + text(command) + b"ios\nsystem\n",
        "obj": b"(cos\nsystem\n" + text(command) + b"o",
        "newobj": b"csubprocess\nPopen\n" + b"](" + text("mkdir") + text(str(canary)) + b"e\x85\x81",
        "newobj_ex": b"csubprocess\nPopen\n" + b"](" + text("mkdir") + text(str(canary)) + b"e\x85}\x92",
        "extension 1": b"\x82\x01" + call,
        "extension 2": b"\x83\x01\x00" + call,
        "extension 4": b"\x84\x01\x00\x00\x00" + call,
        "dotted": b"\x8c\x08builtins\x8c\x0deval.__call__\x93" + call,
        "through an allowed module": b"\x8c\x05torch\x8c\x09os.system\x93" + call,
        "through collections": b"ccollections\n_sys.modules\n" + call,
        "getattr": b"c__builtin__\ngetattr\n(cos\n__dict__\n" + text("system") + b"tR" + call,
        "a text that is called": text("os.system") + call,
        "a tensor that is called": tensor() + call,
        "a persistent id that is called": b"(" + text("module") + text("os.system") + b"tQ" + call,
        "a persistent text": b"Pos.system\n",
        "subclass": function("torch._tensor._rebuild_from_type_v2") + b"(cos\nsystem\n" + call + b"tR",
        "argument of a rebuild": function("torch._utils._rebuild_parameter") + b"(cos\nsystem\n" + call + b"\x88}tR",
        "state of a tensor": tensor() + b"}" + text("__class__") + b"cos\nsystem\nsb",
        "state of a name": b"ctorch\nTensor\n}" + text("__call__") + text("os.system") + b"sb",
        "state of a list": b"]}" + text("__setstate__") + text("os.system") + b"sb",
        "slots state": b"}(N}" + text("__class__") + text("x") + b"stb",
    }
    others = {
        "setstate": pickle.dumps(Stateful()),
        "array": pickle.dumps(np.arange(3), 2),
        "array in protocol 5": pickle.dumps(np.arange(3), 5),
        "reconstructor": b"ccopy_reg\n_reconstructor\n(c__main__\nUNet\nc__builtin__\nobject\nNtR}b",
    }
    return {name: b"\x80\x02" + code + b"." for name, code in by_hand.items()} | stock | others


ATTACKS = list(attacks(pathlib.Path("canary")))


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_are_refused_and_nothing_runs(tmp_path, name):
    attack = attacks(tmp_path / "canary")[name]
    for place in range(4):
        path = tmp_path / "x.pth"
        if place == 0:
            with zipfile.ZipFile(path, "w") as file:
                file.writestr("top/data.pkl", attack)
        elif place == 1:
            archive(path, mapping(w=tensor(), evil=attack.removeprefix(b"\x80\x02").removesuffix(b".")))
        elif place == 2:
            path.write_bytes(MAGIC + attack)
        else:
            path.write_bytes(attack)
        with pytest.raises(PthError):
            read_pth(path)
        assert not (tmp_path / "canary").exists()


def test_the_attacks_are_real(tmp_path):
    for name in (
        "os.system in protocol 2",
        "os.mkdir in protocol 4",
        "eval in protocol 0",
        "global",
        "stack global",
        "inst",
    ):
        pickle.loads(attacks(tmp_path / "canary")[name])
        (tmp_path / "canary").rmdir()


def test_a_refusal_names_what_was_asked_for(tmp_path):
    archive(tmp_path / "model.pth", b"cos\nsystem\n" + text("true") + b"\x85R")
    with pytest.raises(PthError) as caught:
        read_pth(tmp_path / "model.pth")
    expected = f"{tmp_path}/model.pth asks to call os.system; jaxseg reads tensors only and runs no code from a file."
    assert str(caught.value) == expected
