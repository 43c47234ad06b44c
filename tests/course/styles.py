"""Right answers in other styles, made mechanically from a right one.

Some change how a function is called or in what numbers it computes, others rewrite its source
without changing what it means. Each gives one more way in which learners write an answer.
"""

import ast
import enum
import functools
import inspect
import textwrap
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from tests.course.answers import RIGHT, WORDINGS
from tlab_diffusion.course.exercise import Exercise

# The arguments that have one entry a sample, by their places.
BATCHED = {
    "noising.q_step": (0, 1, 2),
    "noising.q_sample": (0, 1, 2),
    "loss.posterior": (0, 1, 2),
    "loss.x0_from_eps": (0, 1, 2),
    "sampling.ddpm_step": (0, 1, 2, 5),
    "sampling.ddim_step": (0, 1, 2, 3, 6),
    "guidance.cross_attention": (0, 1, 2),
    "guidance.cfg": (0, 1),
    "latent.psnr": (0, 1),
    "latent.encode": (0, 1, 2),
    "latent.slerp": (0, 1),
    "training.timestep_embedding": (0,),
    "hands_on.harmonic_mean": (0,),
}
# Losses: what breaks the chain of gradients is no right answer there.
LOSSES = ("loss.noise_loss", "guidance.contrastive_loss", "dreambooth.prior_preservation_loss")


def styles_of(exercise: Exercise) -> dict[str, Callable]:
    """Right answers to an exercise, each under a few words that say what is special about it."""
    found = {f"by hand: {answer.__name__}": answer for answer in RIGHT[exercise.id]}
    found["the solution shown"], found["the package's own"] = exercise.solution, exercise.reference
    found |= dict(_ways_to_call(exercise))
    found |= dict(_kinds_of_numbers(exercise))
    found |= dict(_rewritten(exercise.solution))
    if exercise.id == "dreambooth.prompts":
        found |= {f"in the words of: {text}": _prompts_of(text) for text in WORDINGS}
    return found


def _ways_to_call(exercise: Exercise) -> Iterator[tuple[str, Callable]]:
    right, names = exercise.solution, exercise.parameters

    class Holder:
        def __call__(self, *arguments):
            return right(*arguments)

        def method(self, *arguments):
            return right(*arguments)

    def prints(*arguments):
        print([getattr(argument, "shape", argument) for argument in arguments])
        return right(*arguments)

    yield "any number of arguments", lambda *arguments: right(*arguments)
    yield "arguments by name", lambda *a: right(**dict(zip(names, a, strict=True)))
    yield "a partial function", functools.partial(lambda extra, *a: right(*a), None)
    yield "a callable object", Holder()
    yield "a method", Holder().method
    yield "decorated", functools.wraps(right)(lambda *arguments: right(*arguments))
    yield "prints the shapes", prints


def _kinds_of_numbers(exercise: Exercise) -> Iterator[tuple[str, Callable]]:
    right = exercise.solution
    if exercise.snippets:
        places = {n: right(n) for n in range(1, len(exercise.snippets) + 1)}
        lines = enum.IntEnum("Line", {f"L{n}": n for n in range(1, 20)})
        kinds = {"int8": torch.int8, "int32": torch.int32, "int64": torch.int64}
        for name, dtype in kinds.items():
            yield f"a torch {name}", lambda n, d=dtype: torch.tensor(places[n], dtype=d)
            yield f"a numpy {name}", lambda n, k=name: getattr(np, k)(places[n])
        yield "a numpy array without axes", lambda snippet: np.array(places[snippet])
        yield "an entry of an array", lambda snippet: np.array([*places.values()])[snippet - 1]
        yield "a member of an enumeration", lambda snippet: lines(places[snippet])
        yield "the length of a list", lambda snippet: len([None] * places[snippet])
        yield "counted", lambda snippet: sum(1 for _ in range(places[snippet]))
        return
    first = exercise.make_inputs(exercise.generator())[0]
    if isinstance(sample := right(*_mapped(first, _copied)), tuple | list):
        yield "a tuple", lambda *a: tuple(right(*a))
        yield "a list", lambda *a: list(right(*a))
    if not _tensors(sample):
        return
    yield "in float64 within", lambda *a: _each(right(*_mapped(a, _double)), torch.Tensor.float)
    yield "in float64", lambda *a: right(*_mapped(a, _double))
    yield "in float32", lambda *a: right(*_mapped(a, _single))
    yield "on copies", lambda *a: right(*_mapped(a, _copied))
    yield "on tensors that are not contiguous", lambda *a: right(*_mapped(a, _scattered))
    yield "not contiguous", lambda *a: _each(right(*a), _scattered)
    yield "in place, on the result", lambda *a: _each(right(*a), lambda x: (x + 0).add_(1).sub_(1))
    yield "the mean of two", lambda *a: _each(right(*a), lambda x: torch.stack([x, x]).mean(0))
    if exercise.id not in LOSSES:
        yield "without gradients", torch.no_grad()(lambda *a: right(*a))
        yield "in inference mode", torch.inference_mode()(lambda *a: right(*a))
        yield "through numpy", lambda *a: _each(right(*_mapped(a, _by_numpy)), _by_numpy)
        yield "with a gradient left on", lambda *a: _each(right(*a), _with_gradient)
    if exercise.id in BATCHED:
        yield "sample by sample", _by_sample(right, BATCHED[exercise.id])


def _tensors(value: object) -> bool:
    parts = value if isinstance(value, tuple | list) else [value]
    return any(isinstance(part, Tensor) for part in parts)


def _mapped(arguments: tuple, change: Callable) -> list:
    """The arguments with `change` made to every tensor of floating-point numbers."""

    def mapped(argument: object) -> object:
        if isinstance(argument, list):
            return [mapped(part) for part in argument]
        is_float = isinstance(argument, Tensor) and argument.is_floating_point()
        return change(argument) if is_float else argument

    return [mapped(argument) for argument in arguments]


def _each(value: object, change: Callable) -> object:
    """The result with `change` made to each of its tensors."""
    if isinstance(value, tuple | list):
        return type(value)(_each(part, change) for part in value)
    return change(value) if isinstance(value, Tensor) else value


def _double(x: Tensor) -> Tensor:
    return x.double()


def _single(x: Tensor) -> Tensor:
    return x.float()


def _copied(x: Tensor) -> Tensor:
    return x.clone()


def _scattered(x: Tensor) -> Tensor:
    """The same numbers with gaps between them in memory."""
    return torch.stack([x, -x], dim=-1)[..., 0]


def _by_numpy(x: Tensor) -> Tensor:
    return torch.from_numpy(np.array(x.detach().numpy()))


def _with_gradient(x: Tensor) -> Tensor:
    return x * torch.ones((), requires_grad=True)


def _by_sample(right: Callable, batched: tuple[int, ...]) -> Callable:
    def answer(*arguments):
        results = []
        for i in range(len(arguments[batched[0]])):
            one = [a[i : i + 1] if n in batched else a for n, a in enumerate(arguments)]
            results.append(right(*one))
        if isinstance(results[0], tuple):
            return tuple(torch.cat(parts) for parts in zip(*results, strict=True))
        return torch.cat(results)

    return answer


def _prompts_of(wording: str) -> Callable:
    def answer(identifier, class_noun):
        return wording.format(f"{identifier} {class_noun}"), wording.format(class_noun)

    return answer


# --- Rewritten sources ----------------------------------------------------------------------


def _rewritten(function: Callable) -> Iterator[tuple[str, Callable]]:
    """The function with its source rewritten by one rule, for each rule that changes it."""
    source = textwrap.dedent(inspect.getsource(function))
    original = ast.unparse(ast.parse(source))
    for rule in RULES:
        tree = rule().visit(ast.parse(source))
        changed = ast.unparse(ast.fix_missing_locations(tree))
        if changed != original:
            names = dict(function.__globals__)
            exec(compile(changed, "style", "exec"), names)
            yield rule.__doc__.strip("."), names[function.__name__]


class _Rule(ast.NodeTransformer):
    """Rewrites operations, innermost first."""

    def visit(self, node: ast.AST) -> ast.AST:
        self.generic_visit(node)
        return self.rewrite(node) or node

    def rewrite(self, node: ast.AST) -> ast.AST | None:
        raise NotImplementedError


class SumsTurned(_Rule):
    """sums turned round."""

    def rewrite(self, node):
        match node:
            case ast.BinOp(op=ast.Add()) if not isinstance(node.left, ast.Tuple):
                return ast.BinOp(node.right, ast.Add(), node.left)


class ProductsTurned(_Rule):
    """products turned round."""

    def rewrite(self, node):
        match node:
            case ast.BinOp(op=ast.Mult()):
                return ast.BinOp(node.right, ast.Mult(), node.left)


class DifferencesAsSums(_Rule):
    """differences as sums."""

    def rewrite(self, node):
        match node:
            case ast.BinOp(op=ast.Sub()):
                return ast.BinOp(node.left, ast.Add(), ast.UnaryOp(ast.USub(), node.right))


class QuotientsAsProducts(_Rule):
    """quotients as products."""

    def rewrite(self, node):
        match node:
            case ast.BinOp(op=ast.Div()):
                one_over = ast.BinOp(ast.Constant(1.0), ast.Div(), node.right)
                return ast.BinOp(node.left, ast.Mult(), one_over)


class SquaresAsProducts(_Rule):
    """squares as products."""

    def rewrite(self, node):
        match node:
            case ast.BinOp(op=ast.Pow(), right=ast.Constant(2)):
                return ast.BinOp(node.left, ast.Mult(), node.left)


class RootsAsPowers(_Rule):
    """roots as powers."""

    def rewrite(self, node):
        match node:
            case ast.Call(func=ast.Attribute(value=value, attr="sqrt"), args=[]):
                return ast.BinOp(value, ast.Pow(), ast.Constant(0.5))


METHODS = (
    *("sqrt", "exp", "cos", "sin", "mean", "sum"),
    *("flatten", "reshape", "clamp", "arccos", "softmax", "transpose"),
)


class MethodsAsFunctions(_Rule):
    """functions of torch instead of methods."""

    def rewrite(self, node):
        match node:
            case ast.Call(func=ast.Attribute(value=value, attr=name)) if name in METHODS:
                if any(isinstance(argument, ast.Starred) for argument in node.args):
                    return None
                if isinstance(value, ast.Name) and value.id in ("torch", "math"):
                    return None
                function = ast.Attribute(ast.Name("torch"), name)
                return ast.Call(function, [value, *node.args], node.keywords)


class FunctionsAsMethods(_Rule):
    """methods instead of functions of torch."""

    def rewrite(self, node):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name("torch"), attr=name)):
                if name in (*METHODS, "cumprod", "log10"):
                    return ast.Call(ast.Attribute(node.args[0], name), node.args[1:], node.keywords)
        return None


class ViewsForReshapes(_Rule):
    """`view` for `reshape`."""

    def rewrite(self, node):
        if isinstance(node, ast.Attribute) and node.attr == "reshape":
            return ast.Attribute(node.value, "view", node.ctx)
        return None


class AxesWithoutNames(_Rule):
    """axes without `dim=`."""

    def rewrite(self, node):
        match node:
            case ast.Call(keywords=[ast.keyword(arg="dim", value=axis)]):
                if isinstance(node.func, ast.Attribute) and node.func.attr in AXIS_COMES_NEXT:
                    return ast.Call(node.func, [*node.args, axis], [])
        return None


AXIS_COMES_NEXT = ("cumprod", "mean", "sum", "softmax", "cat")


class NamesOfOnesOwn(_Rule):
    """other names for the variables within."""

    def visit_FunctionDef(self, node):
        assigned = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and _stored(n)}
        inner = assigned - {argument.arg for argument in node.args.args}
        for each in ast.walk(node):
            if isinstance(each, ast.Name) and each.id in inner:
                each.id = f"my_{each.id}"
        return node

    visit_Module = ast.NodeTransformer.generic_visit

    def visit(self, node):
        return ast.NodeTransformer.visit(self, node)


def _stored(name: ast.Name) -> bool:
    return isinstance(name.ctx, ast.Store)


class ResultInAVariable(_Rule):
    """the result in a variable."""

    def rewrite(self, node):
        match node:
            case ast.FunctionDef(body=[*before, ast.Return(value=value)]):
                node.body = [
                    *before,
                    ast.Assign([ast.Name("result", ast.Store())], value),
                    ast.Return(ast.Name("result")),
                ]
                return node


class WithATry(_Rule):
    """within a `try` and an `if`."""

    def rewrite(self, node):
        if isinstance(node, ast.FunctionDef):
            attempt = ast.Try(node.body, [], [], [ast.Pass()])
            node.body = [ast.If(ast.Constant(True), [attempt], [])]
            return node
        return None


class AFunctionWithin(_Rule):
    """a function within the function."""

    def rewrite(self, node):
        if isinstance(node, ast.FunctionDef):
            inner = ast.FunctionDef("inner", node.args, node.body, [], None)
            names = [ast.Name(argument.arg) for argument in node.args.args]
            returned = ast.Return(ast.Call(ast.Name("inner"), names, []))
            node.body = [inner, returned]
            return node
        return None


RULES = (
    SumsTurned,
    ProductsTurned,
    DifferencesAsSums,
    QuotientsAsProducts,
    SquaresAsProducts,
    RootsAsPowers,
    MethodsAsFunctions,
    FunctionsAsMethods,
    ViewsForReshapes,
    AxesWithoutNames,
    NamesOfOnesOwn,
    ResultInAVariable,
    WithATry,
    AFunctionWithin,
)
