"""The loader: real files, in real directories, source, byte code and compiled."""

import compileall
import os
import shutil
import subprocess
import sys
import sysconfig
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from popular.pdm.contract import Authenticated, ModuleFailed, Question, Route, Secret
from popular.pdm.decision import Admitted
from popular.pdm.loader import OWN_DIRECTORY, available, load, successor
from tests.patience import patient
from tests.pdm.asking import ask

CANARY = "canary-4711"
QUESTION = Question("127.0.0.1", "POP3", "default", user="joe", password=Secret(CANARY.encode()), vserv="v1")

SOURCE = """
from popular.pdm.contract import *

counter = []

class Fixed(Module):
    def __init__(self, ident, arguments):
        counter.append(ident)
        self.ident, self.arguments = ident, arguments

    def check(self, question):
        return Authenticated(Route({backend!r}, str(len(counter))))

    def reload(self):
        return Fixed(self.ident, self.arguments)

def open_module(ident, arguments):
    return Fixed(ident, arguments)
"""

OVER = """
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
from popular.pdm import loader

assert Path(sys.argv[1]) in loader.OWN_DIRECTORY.parents
loader.keep_ours()
for name in ("libpdm_passwd", "userlist", "userfile"):
    (loader.OWN_DIRECTORY / f"{name}.py").write_text("raise ImportError('of another release')")
users = Path(sys.argv[1], "users")
users.write_text("joe:x:host\\n")
try:
    loader.load(loader.OWN_DIRECTORY, "passwd", "m", arguments=[str(users)])
except loader.ModuleFailed as failed:
    assert "imported" not in str(failed), failed
print("kept")
"""

COMPILED = r"""
#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* A module that knows everyone: its object holds its id, its arguments, and the contract's types. */
typedef struct { PyObject_HEAD PyObject *ident, *arguments, *contract; } Fixed;

static PyObject *check(PyObject *self, PyObject *question)
{
    PyObject *contract = ((Fixed *) self)->contract, *answer = NULL;
    PyObject *user = PyObject_GetAttrString(question, "user");
    PyObject *route = user ? PyObject_CallMethod(contract, "Route", "sO", "compiled", user) : NULL;
    if (route) answer = PyObject_CallMethod(contract, "Authenticated", "(O)", route);
    Py_XDECREF(user); Py_XDECREF(route);
    return answer;
}
static PyObject *authenticate(PyObject *self, PyObject *arguments) { Py_RETURN_FALSE; }
static PyObject *reload(PyObject *self, PyObject *nothing) { return Py_NewRef(self); }
static PyObject *shut(PyObject *self, PyObject *nothing) { Py_RETURN_NONE; }
static PyObject *ident(PyObject *self, void *nothing) { return Py_NewRef(((Fixed *) self)->ident); }
static PyObject *arguments(PyObject *self, void *nothing) { return Py_NewRef(((Fixed *) self)->arguments); }
static PyObject *blocking(PyObject *self, void *nothing) { Py_RETURN_FALSE; }
static PyObject *flags(PyObject *self, void *nothing) { return PyUnicode_FromString("Q"); }

static void gone(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Py_DECREF(((Fixed *) self)->ident); Py_DECREF(((Fixed *) self)->arguments); Py_DECREF(((Fixed *) self)->contract);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"check", check, METH_O}, {"authenticate", authenticate, METH_VARARGS},
    {"reload", reload, METH_NOARGS}, {"close", shut, METH_NOARGS}, {NULL}};
static PyGetSetDef attributes[] = {
    {"ident", ident}, {"arguments", arguments}, {"blocking", blocking}, {"flags", flags}, {NULL}};
static PyType_Slot slots[] = {
    {Py_tp_methods, methods}, {Py_tp_getset, attributes}, {Py_tp_dealloc, gone}, {0, NULL}};
static PyType_Spec spec = {"libpdm_fixed.Fixed", sizeof(Fixed), 0, Py_TPFLAGS_DEFAULT, slots};

static PyObject *open_module(PyObject *module, PyObject *given)
{
    PyObject *id, *words, *contract = PyImport_ImportModule("popular.pdm.contract");
    if (!contract || !PyArg_ParseTuple(given, "OO", &id, &words)) return NULL;
    PyObject *type = PyType_FromSpec(&spec);
    Fixed *fixed = type ? PyObject_New(Fixed, (PyTypeObject *) type) : NULL;
    Py_XDECREF(type);
    if (!fixed) return NULL;
    fixed->ident = Py_NewRef(id);
    fixed->arguments = Py_NewRef(words);
    fixed->contract = contract;
    return (PyObject *) fixed;
}

static PyMethodDef functions[] = {{"open_module", open_module, METH_VARARGS}, {NULL}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "libpdm_fixed", NULL, 0, functions};
PyMODINIT_FUNC PyInit_libpdm_fixed(void) { return PyModuleDef_Init(&definition); }
"""


def write(directory, name, source=SOURCE, **words):
    path = directory / f"libpdm_{name}.py"
    path.write_text(source.replace("{backend!r}", repr(words.get("backend", "b1"))))
    return path


def text_of_failure(*arguments):
    """The one line that the operator sees."""
    with pytest.raises(ModuleFailed) as caught:
        load(*arguments[:3], arguments=arguments[3])
    text = str(caught.value)
    assert "\n" not in text
    assert CANARY not in text
    assert caught.value.__cause__ is None
    return text


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """A directory with one module that was made by the C compiler."""
    directory = tmp_path_factory.mktemp("compiled")
    compiler, include = shutil.which("cc"), sysconfig.get_path("include")
    if compiler is None or not os.path.exists(f"{include}/Python.h"):
        assert not os.environ.get("CI"), "a C compiler and Python's headers must be there in CI"
        pytest.skip("no C compiler, or no Python headers")
    (directory / "fixed.c").write_text(COMPILED)
    target = directory / "libpdm_fixed.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", f"-I{include}", "-o", target, directory / "fixed.c"],
        check=True,
        timeout=patient(100),
    )
    return directory


def test_source_is_loaded(tmp_path):
    """`pdm add main fixed one two` opens libpdm_fixed.py with its id and its words."""
    write(tmp_path, "fixed")
    module = load(tmp_path, "fixed", "main", arguments=["one", "two"])
    assert module.ident == "main"
    assert tuple(module.arguments) == ("one", "two")
    assert module.check(QUESTION) == Authenticated(Route("b1", "1"))


@pytest.mark.processes
def test_a_compiled_module_is_loaded_and_asked(compiled):
    """A shared library made from C, as the manual's modules were, works in the chain."""
    module = load(compiled, "fixed", "main", arguments=["one"])
    assert ask([module], QUESTION) == Admitted(Route("compiled", "joe"), "main", "main")
    assert (module.ident, module.arguments, module.flags) == ("main", ("one",), "Q")
    assert module.reload().check(QUESTION) == module.check(QUESTION)
    assert available(compiled) == ["fixed"]


@pytest.mark.parametrize("suffix", EXTENSION_SUFFIXES)
def test_a_compiled_module_may_have_each_suffix_of_python(compiled, tmp_path, suffix):
    """libpdm_fixed.cpython-….so is found as well as libpdm_fixed.so, and goes before source of the same name."""
    shutil.copy(compiled / "libpdm_fixed.so", tmp_path / f"libpdm_fixed{suffix}")
    write(tmp_path, "fixed")
    assert load(tmp_path, "fixed", "main", arguments=[]).check(QUESTION).route.backend == "compiled"


def test_byte_code_alone_is_loaded(tmp_path):
    """A site may install libpdm_fixed.pyc without its source."""
    source = write(tmp_path, "fixed")
    assert compileall.compile_file(source, legacy=True, quiet=2)
    source.unlink()
    assert load(tmp_path, "fixed", "main", arguments=[]).check(QUESTION).route.backend == "b1"


def test_two_loads_share_nothing(tmp_path):
    """Twice from one file, and from two directories: each has its own globals."""
    write(tmp_path, "fixed")
    other = tmp_path / "other"
    other.mkdir()
    write(other, "fixed", backend="b2")
    modules = [load(directory, "fixed", "m", arguments=[]) for directory in (tmp_path, tmp_path, other)]
    assert [module.check(QUESTION).route for module in modules] == [
        Route("b1", "1"),
        Route("b1", "1"),
        Route("b2", "1"),
    ]


def test_an_edit_is_seen_at_once_and_nothing_is_written_beside_it(tmp_path):
    """Also an edit within the same second that does not change the size."""
    path = write(tmp_path, "fixed", backend="b1")
    stamp = path.stat()
    load(tmp_path, "fixed", "m", arguments=[])
    write(tmp_path, "fixed", backend="b2")
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert load(tmp_path, "fixed", "m", arguments=[]).check(QUESTION).route.backend == "b2"
    assert [entry.name for entry in tmp_path.iterdir()] == ["libpdm_fixed.py"]


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "a.b", "a\0b", "a b", "ä", "x" * 65])
def test_a_name_is_no_path(tmp_path, name):
    """Only letters, digits, '_' and '-' make a name."""
    assert "letters, digits, '_' and '-'" in text_of_failure(tmp_path, name, "m", [])


def test_an_unknown_name_is_answered_with_those_that_are_there(tmp_path):
    """The nearest comes first."""
    for name in ("ldap", "sqlite", "passwd"):
        write(tmp_path, name)
    (tmp_path / "libpdm_notes.txt").write_text("")
    (tmp_path / "libpdm_folder.py").mkdir()
    text = text_of_failure(tmp_path, "paswd", "m", [])
    assert text.startswith(f"no module 'paswd' in {tmp_path}: there are passwd, ")
    with pytest.raises(ModuleFailed, match=rf"no module 'cdb' in .*comes with the proxy is in {OWN_DIRECTORY}"):
        load(tmp_path, "cdb", "x", arguments=())
    assert sorted(text.partition("there are ")[2].split(", ")) == ["ldap", "passwd", "sqlite"]


def test_a_module_has_the_id_that_it_was_opened_with(tmp_path):
    """By it what it answers is counted; and so has its successor."""
    path = tmp_path / "libpdm_own.py"
    path.write_text(DERIVED.format(more="    def check(self, question): return UNKNOWN"))
    assert "its 'ident' must be 'x', as it was opened" in text_of_failure(tmp_path, "own", "x", [])
    module = load(tmp_path, "own", "m", arguments=[])
    assert successor(module) is module
    for other in ("type(self)()", "None"):
        text = DERIVED.replace("return self", f"self.__class__.ident = 'y'; return {other}")
        path.write_text(text.format(more="    def check(self, question): return UNKNOWN"))
        with pytest.raises(ModuleFailed, match="its successor does not keep the contract"):
            successor(load(tmp_path, "own", "m", arguments=[]))


def test_an_empty_or_missing_directory_is_said(tmp_path):
    """So that a wrong pdmdir is seen for what it is."""
    assert "no libpdm_* is there" in text_of_failure(tmp_path, "any", "m", [])
    assert "no such directory" in text_of_failure(tmp_path / "nowhere", "any", "m", [])


DERIVED = """
from popular.pdm.contract import *
class M(Module):
    ident, arguments = 'm', ()
    def reload(self): return self
{more}
def open_module(ident, arguments): return M()
"""

FAULTS = {
    "syntax error": ("def (:\n", ["SyntaxError", "in line 1"]),
    "raises at import": ("import nothing_of_this_name\n", ["ModuleNotFoundError", "nothing_of_this_name"]),
    "raises many lines": ("raise ValueError('one\\ntwo')\n", ["ValueError: one two"]),
    "leaves at import": ("raise SystemExit(3)\n", ["SystemExit"]),
    "NUL in the source": ("\0", ["cannot be imported"]),
    "no open_module": ("x = 1\n", ["no function open_module"]),
    "open_module is no function": ("open_module = 1\n", ["no function open_module"]),
    "takes no arguments": ("def open_module(): pass\n", ["could not be opened: TypeError"]),
    "raises when opened": (
        f"def open_module(ident, arguments):\n    raise ValueError('{CANARY}')\n",
        ["could not be opened: ValueError in line 2"],
    ),
    "says what is wrong": (
        "from popular.pdm.contract import *\ndef open_module(i, a): raise ModuleFailed('no file')\n",
        ["no file"],
    ),
    "opens nothing": ("def open_module(ident, arguments): return None\n", ["does not keep the contract", "no 'ident'"]),
    "wrong type": (DERIVED.format(more="    blocking = 1\n    def check(self, q): pass\n"), ["'blocking'", "type int"]),
    "arguments as text": (
        DERIVED.format(more="    arguments = 'x'\n    def check(self, q): pass\n"),
        ["'arguments'", "type str"],
    ),
    "answers nothing": (DERIVED.format(more=""), ["neither 'check' nor 'authenticate'"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_module_is_one_line_for_the_operator(tmp_path, fault):
    """File and reason, and no trace of it left behind in the interpreter."""
    source, expected = FAULTS[fault]
    path = write(tmp_path, "faulty", source)
    before = set(sys.modules)
    text = text_of_failure(tmp_path, "faulty", "m", [CANARY])
    assert [piece for piece in expected if piece not in text] == []
    assert str(path) in text or fault == "says what is wrong"
    assert {name for name in set(sys.modules) - before if "libpdm_faulty" in name} == set()


def test_a_library_that_is_none_is_said(tmp_path):
    """A .so that the dynamic loader refuses."""
    (tmp_path / "libpdm_broken.so").write_bytes(b"\x7fELF of a kind")
    assert "libpdm_broken.so cannot be imported: ImportError" in text_of_failure(tmp_path, "broken", "m", [])


OTHER = 65531


def _writable(path):
    path.chmod(path.stat().st_mode | 0o002)


def _of_another_group(path):
    os.chown(path, OTHER, OTHER)  # its owner is another, too, but for a directory of root's the group does not count
    path.chmod(path.stat().st_mode | 0o020)


def _of_another_user(path):
    os.chown(path, OTHER, -1, follow_symlinks=False)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make what is another user's")
@pytest.mark.parametrize("spoil", [_writable, _of_another_group, _of_another_user])
@pytest.mark.parametrize("which", ["file", "pdmdir", "directory above", "directory of a link", "link"])
def test_what_others_can_write_is_not_loaded(tmp_path, which, spoil):
    """The file, its directory, one above, and a link on the way: the answer names what is wrong with which, and not a
    line of the code runs. Put right, it is loaded.
    """
    real, linked = tmp_path / "above" / "pdm", tmp_path / "links"
    real.mkdir(parents=True)
    linked.mkdir()
    path = write(real, "fixed", SOURCE + f"\nimport os\nos.mkdir({str(tmp_path / 'ran')!r})\n")
    link = linked / path.name
    link.symlink_to(path)
    places = {
        "file": path,
        "pdmdir": real,
        "directory above": real.parent,
        "directory of a link": linked,
        "link": link,
    }
    bad = places[which]
    if which == "link":
        _of_another_user(bad)
    else:
        spoil(bad)
    text = text_of_failure(linked, "fixed", "m", [])
    assert str(bad) in text
    assert "others could have written it" in text
    assert not (tmp_path / "ran").exists()
    os.chown(bad, 0, 0, follow_symlinks=False)
    if which != "link":
        bad.chmod(0o755 if bad.is_dir() else 0o644)
    assert load(linked, "fixed", "m", arguments=[]).ident == "m"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make what is another user's")
def test_a_sticky_directory_and_groups_of_root_are_no_strangers(tmp_path):
    """As for run directories: what nobody else can replace is loaded."""
    write(tmp_path, "fixed")
    for mode, group in ((0o1777, OTHER), (0o775, OTHER), (0o770, 0)):
        os.chown(tmp_path, 0, group)
        tmp_path.chmod(mode)
        assert load(tmp_path, "fixed", "m", arguments=[]).ident == "m"


def test_the_modules_that_come_with_the_proxy_are_there():
    """The default directory has them."""
    assert {"any", "master", "passwd"} <= set(available(OWN_DIRECTORY))


@pytest.mark.processes
def test_a_daemon_keeps_the_modules_that_come_with_it(tmp_path: Path) -> None:
    """What is installed over it after `keep_ours` reaches neither a module of ours nor what that imports beside it."""
    shutil.copytree(OWN_DIRECTORY.parent, tmp_path / "popular", ignore=shutil.ignore_patterns("__pycache__"))
    told = subprocess.run(
        [sys.executable, "-c", OVER, str(tmp_path)], cwd=tmp_path, capture_output=True, text=True, timeout=patient(60)
    )
    assert told.stdout == "kept\n", told.stderr
