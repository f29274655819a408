#!/usr/bin/env python3
"""A function that does what its events say, to test what stands for Lambda in the tests."""

import json
import os
import sys
import time
import urllib.request

API = f"http://{os.environ['AWS_LAMBDA_RUNTIME_API']}/2018-06-01/runtime/"


def post(path, body):
    data = json.dumps(body).encode()
    urllib.request.urlopen(urllib.request.Request(API + path, data=data, method="POST"))


def work(word, context):
    """Whether it worked, or an answer."""
    if word == "sleep":
        time.sleep(60)
    elif word == "exit":
        sys.exit(3)
    elif word == "raise":
        raise ValueError("told to")
    elif word == "context":
        return {
            "remaining": int(context["lambda-runtime-deadline-ms"]) / 1000 - time.time(),
            "arn": context["lambda-runtime-invoked-function-arn"],
            "trace": context["lambda-runtime-trace-id"],
            "memory": os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"],
            "process": os.getpid(),
            "environment": sorted(os.environ),
        }
    return word != "fail"


def handle(event, context):
    if "Records" not in event:
        return work(event["do"], context)
    records = event["Records"]
    if os.environ.get("ECHO"):
        print(json.dumps(records[0]), flush=True)
    failed = [record["messageId"] for record in records if not work(record["body"], context)]
    if any(record["body"] == "stranger" for record in records):
        failed.append("stranger")
    return {"batchItemFailures": [{"itemIdentifier": name} for name in failed]}


print("starting", file=sys.stderr, flush=True)
if os.environ.get("INIT") == "error":
    post("init/error", {"errorType": "Init", "errorMessage": "told to"})
    sys.exit(1)
while True:
    with urllib.request.urlopen(API + "invocation/next") as answer:
        event, context = json.load(answer), answer.headers
    invocation = f"invocation/{context['lambda-runtime-aws-request-id']}/"
    try:
        post(invocation + "response", handle(event, context))
    except ValueError as error:
        post(invocation + "error", {"errorType": "ValueError", "errorMessage": str(error)})
