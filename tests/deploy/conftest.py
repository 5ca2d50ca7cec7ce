"""What the tests of the deployment share: the image, which takes some seconds to make."""

import pytest

from tests.deploy.image import Image, may_wrap


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The image's root file system."""
    may_wrap()
    return Image(tmp_path_factory.mktemp("image"))
