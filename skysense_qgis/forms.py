"""What the plugin's windows are made of."""

from __future__ import annotations

from qgis.PyQt.QtCore import QEvent, QObject, Qt
from qgis.PyQt.QtWidgets import QComboBox, QDialog, QFrame, QLabel, QPushButton, QScrollArea, QWidget


class GrowingDialog(QDialog):
    """Texts of several lines and opened groups get their height; a dialog does not grow by itself."""

    def event(self, event: QEvent) -> bool:
        handled = super().event(event)
        if event.type() in (QEvent.Type.LayoutRequest, QEvent.Type.Resize) and self.layout() is not None:
            self.setMinimumHeight(self.layout().totalHeightForWidth(self.width()))
        return handled


class TallScroll(QScrollArea):
    """What does not fit is scrolled up and down; it is always as wide as its content needs."""

    def __init__(self, content: QWidget, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setWidgetResizable(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setWidget(content)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        handled = super().eventFilter(watched, event)
        if event.type() == QEvent.Type.LayoutRequest and self.widget() is not None:
            bar = self.verticalScrollBar().sizeHint().width()
            self.setMinimumWidth(self.widget().minimumSizeHint().width() + bar)
        return handled


def elastic(combo: QComboBox) -> None:
    """Let a list be narrower than its longest entry, such as the name of a layer."""
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(10)


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
