"""Mechanical mutants of a function: its source with one small thing changed.

Each constant, sign, operator, comparison, index, axis and argument is changed in turn, each call
and each statement dropped. `python -m tests.course.matrix` asks of every mutant of every shown
solution whether the checker refuses it.
"""

import ast
import copy
import inspect
import itertools
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass

# What stands in for an operator. Nothing becomes a power: a power of two large integers never ends.
OPERATORS = {
    ast.Add: (ast.Sub, ast.Mult),
    ast.Sub: (ast.Add, ast.Mult),
    ast.Mult: (ast.Div, ast.Add),
    ast.Div: (ast.Mult, ast.Sub),
    ast.FloorDiv: (ast.Div, ast.Mult),
    ast.Pow: (ast.Mult, ast.Add),
}
NOT_COMMUTATIVE = (ast.Sub, ast.Div, ast.FloorDiv, ast.Pow, ast.MatMult)
COMPARISONS = {
    ast.Lt: (ast.LtE, ast.Gt, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt, ast.LtE),
    ast.Eq: (ast.NotEq, ast.LtE, ast.GtE),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
AXES = ("dim", "dims", "axis")
# Functions that are mistaken for each other.
NEIGHBOURS = {
    "cumprod": ("cumsum",),
    "exp": ("expm1", "exp2"),
    "log": ("log10", "log2"),
    "log10": ("log", "log2"),
    "mean": ("sum",),
    "ones_like": ("zeros_like",),
    "rand": ("randn",),
    "sin": ("cos",),
    "cos": ("sin",),
    "sqrt": ("square", "abs"),
    "sum": ("mean",),
}


@dataclass(frozen=True)
class Mutant:
    """A changed function.

    Args:
        line: the line of the source that differs, or the line before a dropped one was dropped.
        function: the mutant itself.
    """

    line: str
    function: Callable


def mutants(function: Callable) -> Iterator[Mutant]:
    """Every mutant of a function, each once."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    original = ast.unparse(tree)
    parameters = [argument.arg for argument in tree.body[0].args.args]
    seen = {original}
    for replace in _replacements(tree, parameters):
        with_change = copy.deepcopy(tree)
        replace(with_change)
        source = ast.unparse(ast.fix_missing_locations(with_change))
        if source in seen:
            continue
        seen.add(source)
        names = dict(function.__globals__)
        exec(compile(source, "mutant", "exec"), names)
        yield Mutant(_changed_line(original, source), names[function.__name__])


def _replacements(tree: ast.Module, parameters: list[str]) -> Iterator[Callable]:
    """Functions that make one change each in a copy of the tree."""
    for path, node in _nodes(tree):
        if isinstance(node, ast.expr):
            for other in _other_expressions(node, parameters):
                yield lambda tree, path=path, other=other: _put(tree, path, other)
        if isinstance(node, ast.Assign | ast.AugAssign | ast.Expr):
            yield lambda tree, path=path: _put(tree, path, ast.Pass())
        if isinstance(node, ast.comprehension) and node.ifs:
            without = ast.comprehension(node.target, node.iter, [], node.is_async)
            yield lambda tree, path=path, without=without: _put(tree, path, without)


def _nodes(tree: ast.AST, path: tuple = ()) -> Iterator[tuple[tuple, ast.AST]]:
    """Every node below, with the fields and indices that lead to it."""
    for field, value in ast.iter_fields(tree):
        children = enumerate(value) if isinstance(value, list) else [(None, value)]
        for index, child in children:
            if isinstance(child, ast.AST):
                here = (*path, (field, index))
                yield here, child
                yield from _nodes(child, here)


def _put(tree: ast.AST, path: tuple, new: ast.AST) -> None:
    *steps, (field, index) = path
    for name, at in steps:
        tree = getattr(tree, name) if at is None else getattr(tree, name)[at]
    if index is None:
        setattr(tree, field, new)
    else:
        getattr(tree, field)[index] = new


def _other_expressions(node: ast.expr, parameters: list[str]) -> Iterator[ast.expr]:
    """What may stand in the place of an expression."""
    match node:
        case ast.Constant():
            yield from map(ast.Constant, _other_constants(node.value))
        case ast.UnaryOp():
            yield node.operand
        case ast.BinOp():
            yield from _other_operations(node)
        case ast.Compare(ops=[operator]):
            for other in COMPARISONS[type(operator)]:
                yield ast.Compare(node.left, [other()], node.comparators)
        case ast.IfExp():
            yield from (node.body, node.orelse, ast.IfExp(node.test, node.orelse, node.body))
        case ast.Subscript(ctx=ast.Load()):
            yield node.value
        case ast.Slice(lower=None, upper=ast.expr()):
            yield ast.Slice(node.upper, None)
        case ast.Slice(lower=ast.expr(), upper=None):
            yield ast.Slice(None, node.lower)
        case ast.Call():
            yield from _other_calls(node)
        case ast.Name(ctx=ast.Load()) if node.id in parameters:
            yield from (ast.Name(other) for other in parameters if other != node.id)


def _other_constants(value: object) -> list:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int | float):
        return list(dict.fromkeys(each for each in (value + 1, value - 1, 2 * value, 0)))
    if isinstance(value, str):
        return [value + "x", ""]
    return []


def _other_operations(node: ast.BinOp) -> Iterator[ast.expr]:
    for other in OPERATORS.get(type(node.op), ()):
        yield ast.BinOp(node.left, other(), node.right)
    if isinstance(node.op, NOT_COMMUTATIVE):
        yield ast.BinOp(node.right, node.op, node.left)
    yield from (node.left, node.right)
    if isinstance(node.op, ast.Mult | ast.Div):
        yield ast.UnaryOp(ast.USub(), node)


def _other_calls(node: ast.Call) -> Iterator[ast.expr]:
    for i, j in itertools.pairwise(range(len(node.args))):
        swapped = list(node.args)
        swapped[i], swapped[j] = swapped[j], swapped[i]
        yield ast.Call(node.func, swapped, node.keywords)
    for i, keyword in enumerate(node.keywords):
        others = [*node.keywords[:i], *node.keywords[i + 1 :]]
        yield ast.Call(node.func, node.args, others)
        if keyword.arg in AXES:
            for axis in (0, 1, -1, None):
                moved = [*others, ast.keyword(keyword.arg, ast.Constant(axis))]
                yield ast.Call(node.func, node.args, moved)
    if isinstance(node.func, ast.Attribute):
        owner, name = node.func.value, node.func.attr
        for other in NEIGHBOURS.get(name, ()):
            called = ast.Attribute(owner, other, ast.Load())
            yield ast.Call(called, node.args, node.keywords)
        if not isinstance(owner, ast.Name) or owner.id not in ("torch", "math"):
            yield owner  # the method is not called: x.sqrt() becomes x
    yield from (argument for argument in node.args if not isinstance(argument, ast.Starred))


def _changed_line(original: str, changed: str) -> str:
    """The first line that differs, as it stands in the mutant."""
    for old, new in itertools.zip_longest(original.splitlines(), changed.splitlines()):
        if old != new:
            return f"dropped: {old.strip()}" if new.strip() == "pass" else new.strip()
    raise ValueError("nothing is changed")
