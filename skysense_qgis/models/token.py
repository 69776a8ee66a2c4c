"""A hub's token from QGIS's authentication store. It stays in memory."""

from __future__ import annotations

from qgis.core import QgsApplication, QgsAuthMethodConfig

_BEARER = "bearer "


def read_token(config_id: str) -> str:
    """The token that an authentication configuration holds.

    It is the password of a configuration "Basic authentication", the token of "EsriToken", or the value of an API
    header "Authorization".

    Args:
        config_id: as `QgsAuthConfigSelect.configId` gives it; "" = none.

    Returns:
        The token; "" = no configuration was chosen.

    Raises:
        ValueError: the configuration cannot be read or holds no token; a sentence.
    """
    if not config_id:
        return ""
    config = QgsAuthMethodConfig()
    loaded = QgsApplication.authManager().loadAuthenticationConfig(config_id, config, True)
    if not (loaded[0] if isinstance(loaded, tuple) else loaded):
        raise ValueError(
            "The authentication cannot be read. Enter QGIS's master password, or choose “No Authentication”."
        )
    values = config.configMap()
    token = values.get("password") or values.get("token") or values.get("Authorization") or ""
    if token.lower().startswith(_BEARER):
        token = token[len(_BEARER) :]
    if not token.strip():
        raise ValueError(
            f"The authentication “{config.name()}” holds no token. "
            "Put the token into the password of a basic authentication."
        )
    return token.strip()
