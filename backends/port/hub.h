// SPDX-License-Identifier: BSD-3-Clause
/*
 * Hub: the common part of the host ends of a device. It has a loop of its own, which the device's loop
 * waits for, timers, and the connector.
 */
#ifndef OUTBOARD_PORT_HUB_H
#define OUTBOARD_PORT_HUB_H

#include <outboard/device.h>
#include <outboard/fault.h>

struct port_hub;

/* 0 or a negative errno. */
int port_hub_new(struct port_hub **ret_hub);
/* Ends and monitors are to be freed before. NULL is fine. */
void port_hub_free(struct port_hub *hub);

/* The last step of ob_program.open: starts the process that stays outside the cell. 0 or a negative
 * errno. */
int port_hub_start(struct port_hub *hub, struct ob_fault *fault);

/* Has the device's loop wait for the hub. 0 or a negative errno. */
int port_hub_attach(struct port_hub *hub, struct ob_device *device);

/* Calls the sources that are ready, and waits for at most timeout_ms before. */
void port_hub_turn(struct port_hub *hub, int timeout_ms);

#endif
