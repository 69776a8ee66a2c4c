"""Small widgets that the window is made of."""

from __future__ import annotations

from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtWidgets import QLabel, QPushButton, QWidget


def wrapped_label(parent: QWidget, name: str) -> QLabel:
    """A text of as many lines as it needs, which can be copied."""
    label = QLabel(parent)
    label.setObjectName(name)
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label


def plain_button(parent: QWidget, text: str, name: str) -> QPushButton:
    """A button that Enter in a text field does not press."""
    button = QPushButton(text, parent)
    button.setObjectName(name)
    button.setAutoDefault(False)
    return button
