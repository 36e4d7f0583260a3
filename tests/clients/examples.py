"""Compares every example of an OpenAPI description with its schema, by a validator that is not ours.

Takes the description on standard input; prints how many examples there were."""

import json
import sys

import jsonschema_rs

document = json.load(sys.stdin)
components = document["components"]
count = 0


def look(node, place):
    """Looks for examples beside a schema, everywhere below this node."""
    global count
    if isinstance(node, list):
        for at, inner in enumerate(node):
            look(inner, f"{place}/{at}")
    if not isinstance(node, dict):
        return
    if "schema" in node and ("examples" in node or "example" in node):
        schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "components": components}
        schema |= {"allOf": [node["schema"]]}
        values = [node["example"]] if "example" in node else []
        for example in node.get("examples", {}).values():
            reference = example.get("$ref", "")
            example = components["examples"][reference.rsplit("/", 1)[-1]] if reference else example
            values.append(example["value"])
        validator = jsonschema_rs.validator_for(schema, validate_formats=True)
        for value in values:
            count += 1
            for error in validator.iter_errors(value):
                sys.exit(f"{place}: {error}")
    for name, inner in node.items():
        if name not in ("schema", "examples", "example"):
            look(inner, f"{place}/{name}")


look(document["paths"], "paths")
print(count)
