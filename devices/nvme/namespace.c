// SPDX-License-Identifier: BSD-3-Clause
#include "namespace.h"

#include "nvme.h"

struct nvme_namespace *namespace_find(struct nvme *nvme, uint32_t id)
{
    if (id == 0 || id > nvme->namespaces.count)
        return NULL;
    return &nvme->namespaces.list[id - 1];
}

bool namespace_has(const struct nvme_namespace *ns, uint64_t slba, uint64_t count)
{
    return slba <= ns->blocks && count <= ns->blocks - slba;
}

int namespaces_watch(struct nvme *nvme)
{
    int err = 0;
    for (unsigned i = 0; i < nvme->namespaces.count && err == 0; i++) {
        struct block *block = nvme->namespaces.list[i].block;
        err = block->ops->watch(block, nvme->device);
    }
    return err;
}

void namespaces_reset(struct nvme *nvme)
{
    for (unsigned i = 0; i < nvme->namespaces.count; i++)
        nvme->namespaces.list[i].changed = false;
}

void namespaces_done(struct nvme *nvme)
{
    struct nvme_namespaces *namespaces = &nvme->namespaces;
    for (unsigned i = 0; i < namespaces->count; i++)
        namespaces->list[i].block->ops->close(namespaces->list[i].block);
}

void namespaces_restart(struct nvme *nvme)
{
    for (unsigned i = 0; i < nvme->namespaces.count; i++) {
        struct block *block = nvme->namespaces.list[i].block;
        if (block->ops->restart)
            block->ops->restart(block);
    }
}

void namespaces_rest(struct nvme *nvme)
{
    for (unsigned i = 0; i < nvme->namespaces.count; i++) {
        struct block *block = nvme->namespaces.list[i].block;
        if (block->ops->rest)
            block->ops->rest(block);
    }
}

bool namespaces_submit(struct nvme *nvme)
{
    bool again = false;
    for (unsigned i = 0; i < nvme->namespaces.count; i++) {
        struct block *block = nvme->namespaces.list[i].block;
        again |= block->ops->submit(block);
    }
    return again;
}

void namespaces_reap(struct nvme *nvme)
{
    for (unsigned i = 0; i < nvme->namespaces.count; i++) {
        struct block *block = nvme->namespaces.list[i].block;
        block->ops->reap(block);
    }
}

void namespace_start(struct nvme *nvme, struct nvme_namespace *ns, struct block_io *io)
{
    nvme->requests.in_flight++;
    ns->block->ops->start(ns->block, io);
}

void namespace_ended(struct nvme *nvme)
{
    nvme->requests.in_flight--;
}
