"""The inference port: Open Inference Protocol, rows, labels, health and metrics on one small HTTP/1.1 server of our own.

`reader` turns bytes into requests, `protocol` answers them in order, `port` gathers the answers of a tick behind one log write,
`routes` reads what is asked, `app` hands it to the data plane. Stock servers cost more than the models that they serve
(docs/decisions); everything else that Holdfast says by HTTP is the control port's, on a stock server.
"""
