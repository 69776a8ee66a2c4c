"""What the plugin's windows are made of."""

from __future__ import annotations

from qgis.PyQt.QtCore import QEvent, Qt
from qgis.PyQt.QtWidgets import QDialog, QLabel, QPushButton, QWidget


class GrowingDialog(QDialog):
    """Texts of several lines and opened groups get their height; a dialog does not grow by itself."""

    def event(self, event: QEvent) -> bool:
        handled = super().event(event)
        if event.type() in (QEvent.Type.LayoutRequest, QEvent.Type.Resize) and self.layout() is not None:
            self.setMinimumHeight(self.layout().totalHeightForWidth(self.width()))
        return handled


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
