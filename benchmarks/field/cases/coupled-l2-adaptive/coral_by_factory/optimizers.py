import torch


def create_optimizer(parameters, args):
    if args.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=args.lr, weight_decay=args.weight_decay)
    return torch.optim.SGD(parameters, lr=args.lr, weight_decay=args.weight_decay, momentum=0.9)
