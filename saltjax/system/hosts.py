"""Processes on several hosts that train one network, connected by `jax.distributed`.

All compute; process 0 alone decides, prints and writes, so that the others need no run directory.

A process that ends with an error or by a signal says so to the others, see `process_group`, and they end with
the same status. One that is killed says nothing: its peers end by an error of the network or, within
HEARTBEAT_SECONDS, are ended by JAX.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import threading
from collections.abc import Callable
from typing import Any

from saltjax.system import console, process_group, signals
from saltjax.system.errors import InputError
from saltjax.system.process_group import Group

# A process waits so long for the others to connect.
CONNECT_SECONDS = 300
# A process that ends with a mistake waits so long for the others to connect, to tell them.
TELL_SECONDS = 30
HEARTBEAT_SECONDS = 100
# The number of processes, where a scheduler says it.
COUNTS = ("SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE")
EXPECTED = (
    "expected auto, or HOST:PORT,COUNT,INDEX: address of process 0, number of processes, and number of "
    "this one from 0, as node1:4000,2,0"
)


# None in a process that trains alone, as every other mode does.
group: Group | None = None
# Whether this process has begun to connect.
tried = False


def connect(text: str, seconds: int = CONNECT_SECONDS) -> None:
    """Connects this process with the others; call before the first use of JAX.

    After `seconds` without them it ends the process with status 2 and a message.

    Args:
      text: the flag --distributed; "" connects with none.
      seconds: to wait for the others.

    Raises:
      InputError: for another value, if no cluster is found, or if process 0 cannot have the port.
    """
    global group, tried
    if not text:
        return
    arguments = _arguments(text)
    import jax  # imported here: most commands need neither
    from jax._src import distributed

    # JAX's own handler of SIGTERM would replace ours.
    jax.config.update("jax_enable_preemption_service", False)
    wanted = next((os.environ[name] for name in COUNTS if name in os.environ), "all")
    if arguments:
        wanted = arguments["num_processes"]
    place = f" at {arguments['coordinator_address']}" if arguments else ""
    console.say(
        f"Waiting for {wanted} processes to connect{place}; gives up after {seconds} s"
    )
    tried = True
    timer = threading.Timer(seconds, _give_up, [text, seconds])
    timer.daemon = True
    timer.start()
    try:
        with signals.default_actions():  # within JAX no handler of Python's runs
            jax.distributed.initialize(
                # When JAX would end the process with a trace of its own.
                initialization_timeout=seconds + 60,
                heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
                **arguments,
            )
    except (ValueError, RuntimeError) as error:
        if "should be defined" in str(error) or "must be defined" in str(error):
            raise InputError(
                f"--distributed={text}: no cluster is found; {EXPECTED}. auto needs SLURM, Open MPI, "
                "Kubernetes or a Cloud TPU"
            ) from None
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"--distributed={text}: {reason}") from None
    finally:
        timer.cancel()
    found = distributed.global_state
    group = Group(found.client, found.process_id, found.num_processes)
    joined = group
    signals.end_at_once(
        lambda signum: joined.end(
            128 + signum, f"Stopped by {signal.Signals(signum).name}."
        )
    )
    if group.index:
        console.mute()
    group.put(f"count/{group.index}", group.count)
    if (expected := group.wait("count/0")) != group.count:
        raise InputError(
            f"--distributed={text}: {group.count} processes, but process 0 was started for {expected}; "
            "expected the same COUNT in all"
        )


def _give_up(text: str, seconds: int) -> None:
    process_group.write(
        f"Error: --distributed={text}: the other processes have not connected within {seconds} s; start "
        "all of them, with the same HOST:PORT and COUNT, and each with an INDEX of its own, where the "
        "port of process 0 can be reached"
    )
    signals.exit_at_once(2)


def _arguments(text: str) -> dict[str, Any]:
    """Returns the arguments of `jax.distributed.initialize`; raises InputError as `connect`."""
    if text == "auto":
        return {}
    try:
        address, count, index = text.rsplit(",", 2)
        host, port = address.rsplit(":", 1)
        numbers = int(port), int(count), int(index)
        if not host or not 0 < numbers[0] < 2**16 or not 0 <= numbers[2] < numbers[1]:
            raise ValueError(text)
    except ValueError:
        raise InputError(f"--distributed={text}: {EXPECTED}") from None
    if numbers[2] == 0:
        _check_port(text, numbers[0])
    else:
        _check_name(text, host)
    return {
        "coordinator_address": address,
        "num_processes": numbers[1],
        "process_id": numbers[2],
        # Not from a scheduler around it, which would give this process one GPU of several.
        "cluster_detection_method": "deactivate",
    }


def _check_port(text: str, port: int) -> None:
    """Raises InputError if process 0 cannot have the port; JAX would crash."""
    dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual else socket.AF_INET
    try:
        socket.create_server(("", port), family=family, dualstack_ipv6=dual).close()
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise InputError(
            f"--distributed={text}: cannot listen on port {port} ({reason}); expected a free port of this "
            "host, the same in all processes, and one process alone with INDEX 0"
        ) from None


def _check_name(text: str, host: str) -> None:
    """Raises InputError if the name of process 0's host is not known."""
    try:
        socket.getaddrinfo(host, None)
    except OSError as error:
        raise InputError(
            f"--distributed={text}: no host {host} is known here ({error.strerror}); expected the name or "
            "address of the host of process 0"
        ) from None


def is_first() -> bool:
    """Returns whether this is process 0, which writes; a process that trains alone is."""
    return group is None or group.index == 0


def count() -> int:
    """Returns the number of processes that train together."""
    return 1 if group is None else group.count


def from_first(compute: Callable[[], Any]) -> Any:
    """Returns on every process what process 0 computes, which must be JSON; the others wait for it."""
    if group is None:
        return compute()
    key = group.next_key()
    if group.index:
        return group.wait(key)
    group.put(key, compute())
    return group.wait(key)  # as the others have it: lists for tuples


def exchange(value: Any) -> list[Any]:
    """Returns the values of all processes, which must be JSON, in their order."""
    if group is None:
        return [value]
    key = group.next_key()
    group.put(f"{key}/{group.index}", value)
    return [group.wait(f"{key}/{i}") for i in range(group.count)]


def check_same(what: str, values: dict[str, Any]) -> None:
    """Checks that all processes have the same values, which must be JSON.

    Raises:
      InputError: on all of them, if they differ: lists in which keys.
    """
    everyone = exchange(values)
    keys = sorted(set().union(*everyone))
    lines = [
        f"  {key}: {_shown(everyone[0].get(key))} in process 0, {_shown(other.get(key))} in process {i}"
        for i, other in enumerate(everyone)
        for key in keys
        if other.get(key) != everyone[0].get(key)
    ]
    if lines:
        raise InputError(
            f"the processes have different {what}:\n"
            + "\n".join(lines)
            + "\nexpected the same in all of them"
        )


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:76]} …"


def forward() -> Callable[[int], None] | None:
    """Returns what hands a signal to process 0; None where this is process 0."""
    return group.forward if group is not None and group.index else None


def take_signals(request: Callable[[int], None]) -> None:
    """Sets what process 0 does for a signal that another process has got."""
    if group is not None:
        group.request = request


def end(status: int, message: str) -> int:
    """Prints why this process ends, and makes the others end too; returns the status to end with.

    That is another one, and another reason, if another process has said before that it ends.
    """
    if group is not None:
        return group.end(status, message).status
    process_group.write(message)
    return status


def end_unconnected(text: str, status: int, message: str) -> int:
    """Does what `end` does where a mistake was found before `connect`."""
    process_group.write(message)
    console.mute()
    if not tried:
        with contextlib.suppress(InputError):
            connect(text, TELL_SECONDS)
    if group is not None:
        group.end(status, message, tell=False)
    return status


def close() -> None:
    """Ends a process that has trained with others, once process 0 is done.

    JAX's own way would wait for a process that was killed meanwhile, and then fail.
    """
    if group is not None:
        from_first(lambda: None)  # until which its mistakes are told
        group.leave()
        signals.exit_at_once(0)
