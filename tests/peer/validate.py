"""What train_lib says of an image and its master: `validate.py MASTER IMAGE`. One JSON line."""

import json
import sys

from train_lib.docker_util.validate_master_image import validate_train_image

try:
    validate_train_image(sys.argv[1], sys.argv[2])
    verdict = "accepted"
except ValueError as error:
    verdict = "rejected: history" if "History entries" in str(error) else "rejected: files"
print(json.dumps({"verdict": verdict}))
