"""The core compiled with a profile: gcc puts what a session runs through together, and what is rare out of its way.

`make trained`, the container image and the Debian package do it in three steps: the core is compiled so that it counts
(`POPULAR_PROFILE=collect`), the demo's site serves some hundred sessions with it, and the core is compiled once more by
what was counted (`POPULAR_PROFILE=build/training`).
"""
