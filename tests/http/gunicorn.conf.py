from resonate_web.gunicorn import post_worker_init, worker_exit  # noqa: F401

bind = "127.0.0.1:0"
control_socket_disable = True  # newer versions would have a thread for it in the master
worker_class = "gthread"
threads = 16
