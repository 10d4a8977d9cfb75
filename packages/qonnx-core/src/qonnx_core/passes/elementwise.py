"""The standard operators that work on every element alike, which passes on layouts, channels and batches all handle."""

from __future__ import annotations

_BROADCASTING = """
Add And BitShift BitwiseAnd BitwiseOr BitwiseXor Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean Min Mod Mul
Or PRelu Pow Sub Sum Where Xor"""
_UNARY = """
Abs Acos Acosh Asin Asinh Atan Atanh BitwiseNot Cast Ceil Celu Clip Cos Cosh Elu Erf Exp Floor Gelu HardSigmoid
HardSwish Identity IsInf IsNaN LeakyRelu Log Mish Neg Not Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh
Softplus Softsign Sqrt Swish Tan Tanh ThresholdedRelu"""
BROADCASTING = frozenset(_BROADCASTING.split())
"""Operators whose inputs are broadcast against each other."""
UNARY = frozenset(_UNARY.split())
"""Operators of one input; further ones, such as the bounds of Clip, are single numbers."""
ELEMENTWISE = BROADCASTING | UNARY
