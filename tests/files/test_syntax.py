"""Traversal of syntax trees."""

import ast

from regcheck.files.syntax import children, walk

SOURCE = """
import os, re as regex
@decorated(1)
async def f(a, /, b: int = 2, *c, d=3, **e) -> str:
    global g
    async with x as y, z:
        async for i in j:
            k[l:m, ...] = {**n, "o": not p}
    try:
        return [q for r in s if t if u]
    except (V, W) as error:
        raise error from None
    finally:
        del v.w, h
class C(B, metaclass=M):
    x: int = lambda self: (yield)
    y += 1 < 2 <= z
match x:
    case {"a": [1, *rest], **others} | Point(x=0) if a and b:
        pass
    case None | "text" | _:
        f"{a!r:>{width}} {b}"
"""
MARKS = (ast.expr_context, ast.operator, ast.cmpop, ast.boolop, ast.unaryop)


def test_traversals_visit_the_nodes_that_those_of_ast_visit_in_their_order() -> None:
    """`walk` and `children` leave out contexts and operators, and nothing else."""
    tree = ast.parse(SOURCE)
    nodes = [each for each in ast.walk(tree) if not isinstance(each, MARKS)]
    assert [*walk(tree)] == nodes
    for node in nodes:
        assert children(node) == [each for each in ast.iter_child_nodes(node) if not isinstance(each, MARKS)]
