"""Uploads a batch and follows it to its end, over any number of cuts: `payout.py HOST:PORT KEY INVOICE...`

The stubs come from `python -m grpc_tools.protoc`, see docs/api.md. Prints a line per outcome."""
import sys, time
import grpc
from fulgurite.v1 import batch_service_pb2 as api, batch_service_pb2_grpc as services, order_pb2, payment_pb2

address, key, invoices = sys.argv[1], sys.argv[2], sys.argv[3:]
batches = services.BatchServiceStub(grpc.insecure_channel(address))
AGAIN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED, grpc.StatusCode.RESOURCE_EXHAUSTED)

def upload():
    yield api.UploadBatchRequest(header=api.UploadBatchRequest.Header(idempotency_key=key))
    orders = [order_pb2.PaymentOrder(bolt11=invoice) for invoice in invoices]
    for first in range(0, len(orders), 1000):
        yield api.UploadBatchRequest(orders=api.UploadBatchRequest.Orders(first_row=first + 1, orders=orders[first:first + 1000]))
    yield api.UploadBatchRequest(commit=api.UploadBatchRequest.Commit(order_count=len(orders)))

batch, cursor, versions = None, "", {}
while batch is None or not batch.HasField("finish_time"):
    try:
        if batch is None:  # The same key again: never a second batch.
            batch = [answer.accepted.batch for answer in batches.UploadBatch(upload()) if answer.HasField("accepted")][0]
        watch = api.WatchBatchRequest(batch_id=batch.batch_id, cursor=cursor, outcomes_only=True)
        for message in batches.WatchBatch(watch):
            for payment in (event.payment for event in message.events if event.HasField("payment")):
                if versions.get(payment.row, -1) < payment.version:  # A repeat has a version that is known.
                    versions[payment.row] = payment.version
                    print(payment.row, payment_pb2.Payment.State.Name(payment.state), payment.fee_msat, flush=True)
            batch, cursor = message.batch if message.HasField("batch") else batch, message.cursor
    except grpc.RpcError as error:
        if error.code() not in AGAIN:
            sys.exit(f"{error.code().name}: {error.details()}")
        time.sleep(0.2)
print("finished", batch.counts.succeeded_count, "of", batch.counts.order_count, flush=True)
