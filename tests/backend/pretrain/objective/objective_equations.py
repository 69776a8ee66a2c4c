"""The losses' equations with loops over plain numbers, for the tests to compare with. Vectors are lists."""

import math


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def unit(a):
    norm = math.sqrt(dot(a, a))
    return [x / norm for x in a]


def cosine(a, b):
    return dot(unit(a), unit(b))


def mean(rows, weights=None):
    weights = [1.0] * len(rows) if weights is None else weights
    return [sum(w * row[c] for w, row in zip(weights, rows)) / sum(weights) for c in range(len(rows[0]))]


def sinkhorn(scores, epsilon, iterations):
    """Columns to equal mass, then rows to 1, in turn."""
    plan = [[math.exp(s / epsilon) for s in row] for row in scores]
    for _ in range(iterations):
        for k in range(len(plan[0])):
            column = sum(row[k] for row in plan)
            for row in plan:
                row[k] /= column
        plan = [[p / sum(row) for p in row] for row in plan]
    return plan


def log_softmax(scores):
    most = max(scores)
    total = most + math.log(sum(math.exp(s - most) for s in scores))
    return [s - total for s in scores]


def l_cl(student, teacher, student_temperature, teacher_temperature, iterations):
    """Mean over rows of the cross-entropy."""
    targets = sinkhorn(teacher, teacher_temperature, iterations)
    rows = [
        -dot(q, log_softmax([s / student_temperature for s in row]))
        for q, row in zip(targets, student, strict=True)
    ]
    return sum(rows) / len(rows)


def farthest_first(points, count):
    points = [unit(p) for p in points]
    middle = [sum(column) for column in zip(*points)]
    chosen = [max(points, key=lambda p: dot(p, middle))]
    while len(chosen) < count:
        chosen.append(min(points, key=lambda p: max(dot(p, c) for c in chosen)))
    return chosen


def cluster(points, count, epsilon, iterations, rounds):
    """Assignment of each point, by rows."""
    points = [unit(p) for p in points]
    centres = farthest_first(points, count)
    for turn in range(rounds + 1):
        plan = sinkhorn([[dot(p, c) for c in centres] for p in points], epsilon, iterations)
        if turn < rounds:
            centres = [unit(mean(points, [row[k] for row in plan])) for k in range(count)]
    return plan


def info_nce(a, b, temperature):
    """Mean over rows; the candidates of row i are all rows of b."""
    scores = [[cosine(x, y) / temperature for y in b] for x in a]
    return -sum(log_softmax(row)[i] for i, row in enumerate(scores)) / len(a)
